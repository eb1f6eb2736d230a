"""From a data folder to `vehicle-type`: train, convert, calibrate, write the model's folder.

Every stage leaves its result in the work folder and is skipped when that is there, so a run that was
cut goes on where it stopped.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import golden
from catalogue import HELD_OUT, Photo, at_most, balanced_weights, labels, read, split
from int8 import Int8Model, float_tflite, quantise
from learn import Plan, Tuning, doubtful, features, linear_head
from measure import Logits, confusion, fit_temperature, foreign_confidences, macro, top1
from network import FLOAT_FILE, Network
from pixels import cached
from ship import calibration_pixels, fitted, write_manifest

CACHE_PX = 192
"""Larger than the network's input, so that a tight random crop still has its detail."""
OWN_BELOW, OTHER_ABOVE = 0.02, 0.95
"""A photo is dropped when a head that never saw its source gives its label less, another label more than this."""
PRECISION_WANTED = 0.9
"""Answers above the threshold are right at least this often."""
CROP_MIN_PX = 40
PER_SOURCE = 80


def main() -> None:
    arguments = parse_arguments()
    training, held_out = split(read(arguments.data), arguments.licence == "permissive")
    arguments.output.mkdir(parents=True, exist_ok=True)
    plan = Plan(steps=arguments.steps, seed=arguments.seed)
    network = trained(training, plan, arguments.per_source, arguments.work)
    convert(network, training, plan, arguments.work, arguments.output)
    describe(held_out, plan, arguments.golden, arguments.output)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and SOURCES.csv")
    parser.add_argument("--golden", type=Path, required=True, help="Tux Paint's firetruck.png")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches and checkpoints")
    parser.add_argument("--output", type=Path, required=True, help="the model's folder")
    parser.add_argument("--licence", choices=["all", "permissive"], default="all", help="which sources to train on")
    parser.add_argument(
        "--steps", type=int, default=Plan.steps, help="of fine-tuning, 64 photos each; 0: the head only"
    )
    parser.add_argument("--per-source", type=int, default=PER_SOURCE, help="photos per label and source to train on")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    return parser.parse_args()


def trained(training: Sequence[Photo], plan: Plan, per_source: int, work: Path) -> Network:
    """A head on the published features, then fine-tuning without the photos whose label is doubtful."""
    pixels = cached(training, CACHE_PX, work)
    network = Network()
    rows = at_most(training, per_source, plan.seed)
    name = f"{len(training)}-{per_source}-{plan.size}-{plan.seed}"
    inputs = features(network, pixels, rows, plan.size, work / f"features-{name}")
    photos = [training[row] for row in rows]
    kept = ~doubtful(inputs, photos, OWN_BELOW, OTHER_ABOVE)
    print(f"{(~kept).sum()} of {len(rows)} labels are doubtful and left out", flush=True)
    photos = [photo for photo, keep in zip(photos, kept, strict=True) if keep]
    network.head = linear_head(inputs[kept], labels(photos), balanced_weights(photos, plan.source_cap))
    return Tuning(network, pixels, rows[kept], photos, plan).run(work / f"tuned-{name}-{plan.steps}.pt")


def convert(network: Network, training: Sequence[Photo], plan: Plan, work: Path, output: Path) -> None:
    torch.save(network.state_dict(), work / FLOAT_FILE)
    network.eval()
    content = quantise(float_tflite(network, plan.size), calibration_pixels(training, plan.size))
    (output / "model.tflite").write_bytes(content)


def describe(held_out: Sequence[Photo], plan: Plan, cut_out: Path, output: Path) -> None:
    """Temperature, threshold and accuracy from photos of sources the network never saw."""
    logits = Int8Model((output / "model.tflite").read_bytes()).logits(fitted(held_out, plan.size))
    own = labels(held_out)
    table = confusion(logits, own)
    accuracy = {
        "top1": round(top1(logits, own), 3),
        "macro": round(macro(table), 3),
        "pictures": len(held_out),
        "measured_on": f"photos of {len(HELD_OUT)} sources the network was not trained on",
    }
    thresholds = {
        "unclassified_below": threshold(logits, held_out),
        "crop_min_px": CROP_MIN_PX,
    }
    picture = golden.write(cut_out, output)
    write_manifest(output, picture, plan.size, fit_temperature(logits, own), thresholds, accuracy)


def threshold(logits: Logits, photos: Sequence[Photo]) -> float:
    """The least confidence from which answers are right as often as wanted."""
    probabilities = foreign_confidences(logits, photos)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels(photos)
    for least in np.arange(0.3, 0.9, 0.05):
        if right[confidence >= least].mean() >= PRECISION_WANTED:
            break
    return round(float(least), 2)


if __name__ == "__main__":
    main()
