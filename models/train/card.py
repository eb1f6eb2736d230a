"""CARD.md from measured figures. Nothing in it is typed by hand that could be measured."""

from pathlib import Path
from typing import Any

from catalogue import FOLDS, LABELS
from curve import ALL, DRAWS
from learn import BATCH, COPY_WEIGHT
from network import BLOCKS_KEPT

LICENCES = {
    "zen": ("one fixed roadside camera, 100 × 100 px", "CC-BY-4.0 (Zenodo 6634554)"),
    "atl": ("fixed highway cameras", "CC-BY-4.0 (Roboflow)"),
    "hwy": ("Indonesian roads", "CC-BY-4.0 (Roboflow)"),
    "oiv": ("web photos (Open Images)", "CC-BY-2.0 images, export without a licence"),
    "recap": ("street-view tiles", "repository MIT, imagery of Street View"),
    "dhk": ("streets of Bangladesh, day and night", "DbCL-1.0"),
    "scars": ("web photos (Stanford Cars)", "**non-commercial**, academic"),
    "jana": ("web photos of a competition", "**none stated**"),
    "yonghah": ("web photos of riders", "**none stated**"),
    "ilham": ("web photos", "**none stated**"),
    "lza": ("ambulances, web", "**none stated**"),
    "lzb": ("ambulances, web and Kerala", "**none stated**"),
    "dawn": ("fog, web", "**none stated**"),
    "k400": ("web photos", "**none stated**"),
    "carbike": ("web photos", "**none stated**"),
    "minston": ("web photos", "**none stated**"),
}
"""Per source: what it shows, and the licence its publisher states."""

TARGETS = (
    ("right type", "top1", 0.90),
    ("right type, suv counted as car", "top1_suv_as_car", 0.94),
)
SMALL, LARGE, TWO_WHEELS = {"car", "pickup", "suv", "van"}, {"bus", "truck", "van"}, {"bicycle", "motorcycle"}
MISTAKES = (
    ("one of car, pickup, suv, van taken for another", SMALL, SMALL),
    ("one of bus, truck, van taken for another", LARGE, LARGE),
    ("taken for `emergency`", set(LABELS), {"emergency"}),
    ("motorcycle taken for bicycle or the other way round", TWO_WHEELS, TWO_WHEELS),
)
"""Name, labels and answers; what fits two kinds is counted as the first."""
LOSS_AT_48, LOSS_ELSEWHERE = 0.10, 0.08

Figures = dict[str, Any]


def write_card(folder: Path, manifest: dict[str, Any], figures: Figures) -> None:
    parts = [
        introduction(manifest, figures),
        data(figures),
        training(figures["recipe"]),
        accuracy(figures),
        confidence(manifest, figures),
        corruptions(figures),
        learning(figures),
        failures(manifest, figures),
        mistakes(figures),
        notes(),
    ]
    (folder / "CARD.md").write_text("\n\n".join(parts) + "\n")


def introduction(manifest: dict[str, Any], figures: Figures) -> str:
    size, speed = manifest["input"]["width"], figures["speed_ms"]
    return f"""# {manifest["name"]} {manifest["version"]}

EfficientNet-Lite0 at {size} × {size}, full int8, {figures["bytes"] / 1e6:.2f} MB, for the ten types
{", ".join(LABELS)}. {speed["model"]:.1f} ms a picture on one thread of the machine it was measured on, where
EfficientNet-Lite0 at 224 takes {speed["lite0_224"]:.1f} ms (interleaved, the fastest of each).

**Intended use.** Naming the type of vehicles that a tracker cut out of a road camera's picture, and of whole photos
of one vehicle. Counts are meant as statistics. **Not for** identifying a vehicle or a person, for enforcement, or for
any decision about a single vehicle; an ambulance must not depend on being recognised.

**Licence.** Network, published weights and code are Apache-2.0. Some of the photos it was trained on are
**non-commercial or state no licence** (bold in the table below); whether weights inherit that is not settled, so a
commercial user should train again with `--licence permissive`, which leaves those sources out. The golden picture is
CC-BY-2.5, see `manifest.json`. None of the photos is part of this repository."""


def data(figures: Figures) -> str:
    rows = [
        "## Data",
        "",
        "Photos per type. The fold says which network was measured on a source: one that saw none of that fold.",
        "",
        "| source | fold | what | licence stated | " + " | ".join(LABELS) + " |",
        "|---|---|---|---" + "|---" * len(LABELS) + "|",
    ]
    for source, counts in sorted(figures["photos"].items(), key=lambda item: (FOLDS[item[0]], item[0])):
        what, licence = LICENCES[source]
        numbers = " | ".join(str(counts[label] or "") for label in LABELS)
        rows.append(f"| {source} | {FOLDS[source]} | {what} | {licence} | {numbers} |")
    rows += ["", "Their labels are wrong for an estimated 3–10 % of the photos, by source and type."]
    return "\n".join(rows)


def training(recipe: Figures) -> str:
    tuning = (
        f"Then the network above its first {BLOCKS_KEPT} blocks for {recipe['steps']} steps of {BATCH} pictures, "
        f"drawn from the photos and {recipe['views'] - 1} augmented copies of each, the weights averaged (`learn.py`)."
        if recipe["steps"]
        else "The network itself was **not** fine-tuned: it is EfficientNet-Lite0 as published."
    )
    return f"""## Training

{recipe["photos"]} photos: at most {recipe["per_source"]} per type and source. A linear head on the published features of
every photo and, at a weight of {COPY_WEIGHT}, of an augmented copy of it (`augment.py`), types and sources balanced.
{tuning}"""


def accuracy(figures: Figures) -> str:
    int8, floats = figures["int8"], figures["float"]
    rows = [
        "## Accuracy on sources it has never seen",
        "",
        f"{figures['measured']} photos, at most 60 per type and source, each answered by a network that never saw its "
        "source nor any other of its fold. The shipped network learnt from all of them by the same recipe, so it has seen "
        "more sources than any network measured here, and cannot be measured itself.",
        "",
        "| | aim | int8 | float |",
        "|---|---|---|---|",
    ]
    for name, key, aim in TARGETS:
        rows.append(f"| {name} | {percent(aim)} | **{percent(int8[key])}** | {percent(floats[key])} |")
    rows += [
        f"| right as far as the source can tell | | {percent(int8['top1_possible'])} | {percent(floats['top1_possible'])} |",
        f"| mean over the types | | {percent(int8['macro'])} | {percent(floats['macro'])} |",
        "",
        "\"As far as the source can tell\": `atl`, `dawn` and `oiv` have no type `suv` and call pickups (`dawn`: vans too) cars.",
        "",
        "| type | photos | found | right when said | most often mistaken for |",
        "|---|---|---|---|---|",
    ]
    rows += [type_row(index, int8) for index in range(len(LABELS))]
    rows += ["", "| source | photos | right |", "|---|---|---|"]
    rows += [f"| {source} | {at['photos']} | {percent(at['right'])} |" for source, at in int8["sources"].items()]
    rows += ["", "![Labels against answers](confusion.png)"]
    return "\n".join(rows)


def type_row(index: int, measured: Figures) -> str:
    label, counts = LABELS[index], measured["confusion"][index]
    others = sorted(((count, LABELS[at]) for at, count in enumerate(counts) if at != index and count), reverse=True)
    mistakes = ", ".join(f"{name} ({count})" for count, name in others[:2])
    found, said = percent(measured["recall"][label]), percent(measured["precision"][label])
    return f"| {label} | {sum(counts)} | {found} | {said} | {mistakes} |"


def confidence(manifest: dict[str, Any], figures: Figures) -> str:
    rows = [
        "## Confidence",
        "",
        f"Temperature {manifest['temperature']}. The expected calibration error is "
        f"{figures['int8']['calibration_error']:.3f} (15 bins; every source judged with a temperature fitted on the "
        f"others; the aim is 0.03). Below {manifest['thresholds']['unclassified_below']} an answer is reported as "
        f"unclassified; crops with a shorter side under {manifest['thresholds']['crop_min_px']} px are not classified.",
        "",
        "| threshold | answers kept | of these right |",
        "|---|---|---|",
    ]
    rows += [f"| {row['least']} | {percent(row['kept'])} | {percent(row['right'])} |" for row in figures["confidence"]]
    rows += ["", "![Confidence against truth](calibration.png)"]
    return "\n".join(rows)


def corruptions(figures: Figures) -> str:
    measured = figures["corruptions"]
    rows = [
        "## What the road does to it",
        "",
        f"The same {measured['photos']} photos of unseen sources, clean ({percent(measured['clean'])} right) and harmed. The "
        "harm is made by the code that also varies the training photos, at fixed strengths (`corruptions.py`).",
        "",
        "| harm | right | points lost | allowed |",
        "|---|---|---|---|",
    ]
    for name, right in measured["top1"].items():
        allowed = LOSS_AT_48 if name.startswith("48") else LOSS_ELSEWHERE
        shown = "" if name.startswith(("40", "32")) else f"{100 * allowed:.0f}"
        rows.append(f"| {name} | {percent(right)} | {100 * (measured['clean'] - right):.1f} | {shown} |")
    return "\n".join(rows)


def learning(figures: Figures) -> str:
    rows = [
        "## Learning curve",
        "",
        "What a linear head on the published features, learnt from fewer photos or fewer sources of every type and "
        f"without augmentation, gets right of sources it did not see: the mean of {DRAWS} draws, the worst and the "
        "best of them.",
        "",
        "| photos per type and source | sources per type | photos | right | worst to best | mean over the types |",
        "|---|---|---|---|---|---|",
    ]
    for point in figures["curve"]:
        photos, sources = (f"{point[key]}" if point[key] != ALL else "all" for key in ("per_source", "sources"))
        rows.append(
            f"| {photos} | {sources} | {point['photos']:.0f} | {percent(point['top1'])} | "
            f"{100 * point['least']:.1f}–{percent(point['most'])} | {percent(point['macro'])} |"
        )
    rows += ["", "![Right by photos learnt from](curve.png)"]
    return "\n".join(rows)


def mistakes(figures: Figures) -> str:
    table = figures["int8"]["confusion"]
    wrong = {
        (label, answer): table[LABELS.index(label)][LABELS.index(answer)]
        for label in LABELS
        for answer in LABELS
        if label != answer
    }
    total = sum(wrong.values())
    rows = [
        "## Where the mistakes are",
        "",
        f"{total} of the {figures['measured']} answers of the int8 networks are wrong. The right type is among the first two "
        f"answers for {percent(figures['int8']['top2'])} of the photos.",
        "",
        "| kind of mistake | answers | share |",
        "|---|---|---|",
    ]
    left = dict(wrong)
    for name, labels, answers in MISTAKES:
        kind = [pair for pair in left if pair[0] in labels and pair[1] in answers]
        rows.append(mistake_row(name, sum(left.pop(pair) for pair in kind), total))
    rows.append(mistake_row("all else", sum(left.values()), total))
    return "\n".join(rows)


def mistake_row(name: str, count: int, total: int) -> str:
    return f"| {name} | {count} | {100 * count / total:.0f} % |"


def failures(manifest: dict[str, Any], figures: Figures) -> str:
    rows = [
        "## Failures, shown",
        "",
        "The photos it is measured on are not part of this repository. What can be shown is the golden picture, harmed more "
        f"and more until the shipped network no longer says {manifest['golden']['picture']['expected']['type']} (below "
        f"{manifest['thresholds']['unclassified_below']} the program says unclassified):",
        "",
        "| harm | right down to | first wrong at | answer |",
        "|---|---|---|---|",
    ]
    for row in figures["failures"]:
        answer = f"{row['answer']}, {row['confidence']:.2f}" if row["wrong"] else "none of the strengths tried"
        rows.append(f"| {row['harm']} | {row['right'] or ''} | {row['wrong'] or ''} | {answer} |")
    credit = manifest["golden"]["picture"]
    rows += ["", "![The first wrong ones](failures.jpg)", "", f"{credit['licence']}: {credit['source']}; harmed by `failures.py`."]
    return "\n".join(rows)


def notes() -> str:
    """What no program can measure, written by hand."""
    return (Path(__file__).parent / "notes.md").read_text().strip()


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
