"""Measure a `vehicle-type` folder on sources it was not trained on: its manifest, its CARD.md and two charts."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import charts
import curve
from card import write_card
from catalogue import HELD_OUT, LABELS, Photo, at_most, labels, read, sources, split
from corruptions import CORRUPTIONS, corrupted
from golden import sha256
from learn import SEEN_FILE, features
from measure import (
    Logits,
    calibration,
    confusion,
    fit_temperature,
    foreign_confidences,
    macro,
    precision,
    recall,
    top1,
    top1_suv_as_car,
)
from network import FLOAT_FILE, Network, load
from pictures import Pixels
from runtime import Int8Model
from ship import fitted, write_manifest

PER_SOURCE, SAMPLE_SEED = 40, 1
"""Photos per label and held-out source that are measured, so that one large source does not decide the figures."""
CORRUPTION_PER_SOURCE = 5
"""The same for the corruption table, which runs the network once per harm."""
SPEED_ROUNDS = 60
PRECISION_WANTED = 0.8
"""Answers above the threshold are right at least this often, if any threshold can do that."""
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
CROP_MIN_PX = 40
"""Training goes down to 32; the corruption table shows what is lost."""


def main() -> None:
    arguments = parse_arguments()
    training, unseen = split(read(arguments.data), arguments.licence == "permissive")
    held_out = [unseen[row] for row in at_most(unseen, PER_SOURCE, SAMPLE_SEED)]
    network, recipe = load(arguments.work / FLOAT_FILE)
    size = recipe["size"]
    content = (arguments.model / "model.tflite").read_bytes()
    model = Int8Model(content)
    pixels = fitted(held_out, size)
    digest = sha256(content)[:12]
    logits = kept(arguments.work / f"int8-{digest}.npy", lambda: model.logits(pixels))
    manifest = describe(arguments.model, size, logits, held_out)
    reference = kept(arguments.work / f"float-{digest}.npy", lambda: float_logits(network, pixels, arguments.work))
    figures = {
        "recipe": recipe,
        "training": counts(training),
        "held_out": counts(held_out),
        "int8": scores(logits, held_out),
        "float": scores(reference, held_out),
        "corruptions": corruption_table(model, held_out, pixels, logits),
        "speed_ms": speed(model, size, arguments.baseline),
        "bytes": len(content),
        "confidence": confidence_table(logits, held_out),
        "curve": learning_curve(training, held_out, pixels, arguments.work),
    }
    draw(logits, held_out, arguments.model)
    charts.learning_curve(figures["curve"], arguments.model / "curve.png")
    (arguments.work / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    write_card(arguments.model, manifest, figures)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and SOURCES.csv")
    parser.add_argument("--model", type=Path, required=True, help="the model's folder; its CARD.md is written")
    parser.add_argument("--work", type=Path, required=True, help="where fit.py left the float weights")
    parser.add_argument("--baseline", type=Path, required=True, help="EfficientNet-Lite0 at 224 as int8 .tflite")
    parser.add_argument("--licence", choices=["all", "permissive"], default="all", help="as given to fit.py")
    return parser.parse_args()


def kept(file: Path, compute: Callable[[], Logits]) -> Logits:
    """What `file` holds, computed once: a run that was cut goes on."""
    if not file.exists():
        np.save(file, compute())
    return np.load(file)


def describe(folder: Path, size: int, logits: Logits, held_out: Sequence[Photo]) -> dict[str, Any]:
    """The manifest: temperature, threshold and accuracy are those of the sources never trained on."""
    own = labels(held_out)
    accuracy = {
        "top1": round(top1(logits, own), 3),
        "macro": round(macro(confusion(logits, own)), 3),
        "pictures": len(held_out),
        "measured_on": f"photos of {len(HELD_OUT)} sources the network was not trained on",
    }
    thresholds = {"unclassified_below": threshold(logits, held_out), "crop_min_px": CROP_MIN_PX}
    return write_manifest(folder, size, fit_temperature(logits, own), thresholds, accuracy)


def threshold(logits: Logits, photos: Sequence[Photo]) -> float:
    """The least confidence from which answers are right as often as wanted."""
    probabilities = foreign_confidences(logits, photos)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels(photos)
    enough = [least for least in THRESHOLDS if right[confidence >= least].mean() >= PRECISION_WANTED]
    return min(enough, default=THRESHOLDS[-1])


def counts(photos: Sequence[Photo]) -> dict[str, dict[str, int]]:
    """Photos per source and label."""
    names = sorted({photo.source for photo in photos})
    table: dict[str, dict[str, int]] = {name: dict.fromkeys(LABELS, 0) for name in names}
    for photo in photos:
        table[photo.source][LABELS[photo.label]] += 1
    return table


@torch.inference_mode()
def float_logits(network: Network, pixels: Pixels, work: Path) -> Logits:
    return network.head(torch.from_numpy(held_out_features(network, pixels, work))).numpy()


def held_out_features(network: Network, pixels: Pixels, work: Path) -> NDArray[np.float32]:
    """What the network's trunk, tuned or as published, says of the photos that are measured."""
    weights = b"".join(value.numpy().tobytes() for value in network.trunk.state_dict().values())
    folder = work / f"held-out-{pixels.shape[1]}-{sha256(weights)[:12]}"
    return features(network, pixels, np.arange(len(pixels)), pixels.shape[1], folder)


def learning_curve(
    training: Sequence[Photo], held_out: Sequence[Photo], pixels: Pixels, work: Path
) -> list[curve.Point]:
    """Heads on published features, learnt from fewer and fewer of the photos that fit.py saw."""
    file = work / "curve.json"
    if not file.exists():
        seen = np.load(work / SEEN_FILE)
        known = curve.Set([training[row] for row in seen["rows"]], seen["inputs"])
        unseen = curve.Set(held_out, held_out_features(Network(), pixels, work))
        file.write_text(json.dumps(curve.measured(known, unseen)))
    return json.loads(file.read_text())


def scores(logits: Logits, photos: Sequence[Photo]) -> dict[str, Any]:
    own, names = labels(photos), sources(photos)
    table = confusion(logits, own)
    right = logits.argmax(1) == own
    return {
        "top1": top1(logits, own),
        "top1_suv_as_car": top1_suv_as_car(logits, own),
        "macro": macro(table),
        "recall": dict(zip(LABELS, recall(table).tolist(), strict=True)),
        "precision": dict(zip(LABELS, precision(table).tolist(), strict=True)),
        "confusion": table.tolist(),
        "sources": {str(name): float(right[names == name].mean()) for name in np.unique(names)},
        "calibration_error": calibration(foreign_confidences(logits, photos), own).error,
    }


def corruption_table(model: Int8Model, photos: Sequence[Photo], pixels: Pixels, logits: Logits) -> dict[str, Any]:
    """Top-1 on the same photos, clean and harmed."""
    chosen = sample(photos)
    own = labels(photos)[chosen]
    harmed = {
        name: top1(model.logits(corrupted(pixels[chosen], corruption)), own) for name, corruption in CORRUPTIONS.items()
    }
    return {"photos": len(chosen), "clean": top1(logits[chosen], own), "top1": harmed}


def sample(photos: Sequence[Photo]) -> list[int]:
    """The first few photos of every label and source."""
    taken: dict[tuple[int, str], int] = {}
    chosen = []
    for index, photo in enumerate(photos):
        group = photo.label, photo.source
        taken[group] = taken.get(group, 0) + 1
        if taken[group] <= CORRUPTION_PER_SOURCE:
            chosen.append(index)
    return chosen


def speed(model: Int8Model, size: int, baseline: Path) -> dict[str, float]:
    """The fastest of interleaved runs on one thread: what other work on the machine disturbs least."""
    rivals = {
        "model": (model, np.zeros((size, size, 3), np.int8)),
        "lite0_224": (Int8Model(baseline.read_bytes()), np.zeros((224, 224, 3), np.int8)),
    }
    fastest = dict.fromkeys(rivals, float("inf"))
    for _ in range(SPEED_ROUNDS):
        for name, (rival, tensor) in rivals.items():
            start = time.perf_counter()
            rival.invoke(tensor)
            fastest[name] = min(fastest[name], (time.perf_counter() - start) * 1000)
    return fastest


def confidence_table(logits: Logits, photos: Sequence[Photo]) -> list[dict[str, float]]:
    """What each threshold keeps, and how often what it keeps is right."""
    probabilities = foreign_confidences(logits, photos)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels(photos)
    rows = []
    for least in (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        kept = confidence >= least
        rows.append({"least": least, "kept": float(kept.mean()), "right": float(right[kept].mean())})
    return rows


def draw(logits: Logits, photos: Sequence[Photo], folder: Path) -> None:
    own = labels(photos)
    charts.confusion_matrix(confusion(logits, own), folder / "confusion.png")
    charts.calibration_curve(calibration(foreign_confidences(logits, photos), own), folder / "calibration.png")


if __name__ == "__main__":
    main()
