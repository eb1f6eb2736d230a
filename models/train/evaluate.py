"""Measure a `vehicle-type` folder: its manifest, its CARD.md and three charts.

Every figure of accuracy is that of the folds' networks, each on the sources it never saw; the shipped network differs from
them by having seen those sources too.
"""

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
import failures
from card import write_card
from catalogue import FOLDS, LABELS, SHIPPED, Photo, at_most, folds, labels, possible, read, sources, training_rows
from convert import int8_file
from corruptions import CORRUPTIONS, corrupted
from fit import CACHE_PX
from fit import PER_SOURCE as SEEN_PER_SOURCE
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
from network import Network, load, weights_file
from pictures import Pixels
from pixels import cached
from runtime import Int8Model
from ship import fitted, write_manifest
from views import VIEWS, clean, view

PER_SOURCE, SAMPLE_SEED = 60, 1
"""Photos per label and source that are measured, so that one large source does not decide the figures."""
SPEED_ROUNDS = 60
PRECISION_WANTED = 0.8
"""Answers above the threshold are right at least this often, if any threshold can do that."""
THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
CROP_MIN_PX = 40
"""Training goes down to 32; the corruption table shows what is lost."""


def main() -> None:
    arguments = parse_arguments()
    work, licence = arguments.work, arguments.licence
    photos = read(arguments.data)
    measured = [photos[row] for row in at_most(photos, PER_SOURCE, SAMPLE_SEED)]
    _, recipe = load(weights_file(work, SHIPPED, licence))
    size = recipe["size"]
    content = (arguments.model / "model.tflite").read_bytes()
    model = Int8Model(content)
    pixels = fitted(measured, size)
    strangers = Strangers(work, licence, folds(measured))
    logits = kept(work / f"measured-int8-{licence}.npy", lambda: strangers.int8(pixels))
    reference = kept(work / f"measured-float-{licence}.npy", lambda: strangers.floats(pixels))
    figures = {
        "recipe": recipe,
        "photos": counts([photos[row] for row in training_rows(photos, SHIPPED, licence == "permissive")]),
        "measured": len(measured),
        "int8": scores(logits, measured),
        "float": scores(reference, measured),
        "corruptions": corruption_table(strangers, labels(measured), pixels, logits),
        "speed_ms": speed(model, size, arguments.baseline),
        "bytes": len(content),
        "confidence": confidence_table(logits, measured),
        "curve": learning_curve(arguments.data, work, size),
    }
    manifest = describe(arguments.model, size, logits, measured)
    figures["failures"], pictures = failures.found(arguments.model, size, manifest["temperature"])
    charts.failures(pictures, arguments.model / "failures.jpg")
    (work / f"figures-{licence}.json").write_text(json.dumps(figures, indent=2) + "\n")
    draw(logits, measured, arguments.model)
    charts.learning_curve(figures["curve"], arguments.model / "curve.png")
    write_card(arguments.model, manifest, figures)


class Strangers:
    """For each photo the network of its fold, which never saw its source."""

    def __init__(self, work: Path, licence: str, of: NDArray[np.int64]) -> None:
        """`of` says the fold of each photo."""
        self._files = {fold: weights_file(work, fold, licence) for fold in np.unique(of).tolist()}
        self._models = {fold: Int8Model(int8_file(file).read_bytes()) for fold, file in self._files.items()}
        self._of = of

    def int8(self, pixels: Pixels) -> Logits:
        logits = np.zeros((len(pixels), len(LABELS)), np.float32)
        for fold, model in self._models.items():
            logits[self._of == fold] = model.logits(pixels[self._of == fold])
        return logits

    @torch.inference_mode()
    def floats(self, pixels: Pixels) -> Logits:
        logits = np.zeros((len(pixels), len(LABELS)), np.float32)
        for fold, file in self._files.items():
            network, _ = load(file)
            for at in np.array_split(np.flatnonzero(self._of == fold), PER_SOURCE):
                if len(at):
                    logits[at] = network(clean(pixels[at], pixels.shape[1])).numpy()
        return logits


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
        "measured_on": f"{len(FOLDS)} sources, each by a network that was not trained on it",
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


def learning_curve(data: Path, work: Path, size: int) -> list[curve.Point]:
    """Heads on published features, learnt from fewer and fewer of the photos that fit.py saw."""
    file = work / f"curve-{size}.json"
    if not file.exists():
        photos = read(data)
        rows = at_most(photos, SEEN_PER_SOURCE, SAMPLE_SEED)
        pixels = cached(photos, CACHE_PX, work)
        vectors = view(Network(), pixels, rows, size, VIEWS[0], work).vectors
        file.write_text(json.dumps(curve.measured([photos[row] for row in rows], vectors)))
    return json.loads(file.read_text())


def scores(logits: Logits, photos: Sequence[Photo]) -> dict[str, Any]:
    own, names = labels(photos), sources(photos)
    table = confusion(logits, own)
    right = logits.argmax(1) == own
    return {
        "top1": top1(logits, own),
        "top1_suv_as_car": top1_suv_as_car(logits, own),
        "top1_possible": float(possible(photos)[np.arange(len(own)), logits.argmax(1)].mean()),
        "top2": float((np.argsort(-logits, 1)[:, :2] == own[:, None]).any(1).mean()),
        "macro": macro(table),
        "recall": dict(zip(LABELS, recall(table).tolist(), strict=True)),
        "precision": dict(zip(LABELS, precision(table).tolist(), strict=True)),
        "confusion": table.tolist(),
        "sources": {
            str(name): {"photos": int((names == name).sum()), "right": float(right[names == name].mean())}
            for name in np.unique(names)
        },
        "calibration_error": calibration(foreign_confidences(logits, photos), own).error,
    }


def corruption_table(strangers: Strangers, own: NDArray[np.int64], pixels: Pixels, logits: Logits) -> dict[str, Any]:
    """Top-1 on the same photos, clean and harmed."""
    harmed = {name: top1(strangers.int8(corrupted(pixels, harm)), own) for name, harm in CORRUPTIONS.items()}
    return {"photos": len(own), "clean": top1(logits, own), "top1": harmed}


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
