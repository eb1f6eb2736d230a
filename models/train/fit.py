"""From a data folder to trained weights.

Every stage leaves its result in the work folder and is skipped when that is there, so a run that was
cut goes on where it stopped.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from catalogue import Photo, at_most, read, split
from learn import CLEAN, SEEN_FILE, Plan, Tuning, doubtful, features, linear_head
from network import FLOAT_FILE, Network, Recipe
from pixels import cached

CACHE_PX = 192
"""Larger than the network's input, so that a tight random crop still has its detail."""
OWN_BELOW, OTHER_ABOVE = 0.02, 0.95
"""A photo is dropped when a head that never saw its source gives its label less, another label more than this."""
PER_SOURCE = 1000
VIEWS = 1
"""Augmented copies of every photo that the head also learns from."""


def main() -> None:
    arguments = parse_arguments()
    training, _ = split(read(arguments.data), arguments.licence == "permissive")
    plan = Plan(size=arguments.size, steps=arguments.steps, seed=arguments.seed)
    network, recipe = trained(training, plan, arguments.per_source, arguments.views, arguments.work)
    torch.save({"recipe": recipe, "network": network.state_dict()}, arguments.work / FLOAT_FILE)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and SOURCES.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches and checkpoints")
    parser.add_argument("--licence", choices=["all", "permissive"], default="all", help="which sources to train on")
    parser.add_argument(
        "--steps", type=int, default=Plan.steps, help="of fine-tuning, 64 photos each; 0: the head only"
    )
    parser.add_argument("--per-source", type=int, default=PER_SOURCE, help="photos per label and source to train on")
    parser.add_argument("--views", type=int, default=VIEWS, help="augmented copies of every photo for the head")
    parser.add_argument("--size", type=int, default=Plan.size, help="of the input, in pixels")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    return parser.parse_args()


def trained(training: Sequence[Photo], plan: Plan, per_source: int, views: int, work: Path) -> tuple[Network, Recipe]:
    """A head on the published features, then fine-tuning, both without the photos whose label is doubtful."""
    pixels = cached(training, CACHE_PX, work)
    network = Network()
    rows = at_most(training, per_source, plan.seed)
    name = f"{len(training)}-{per_source}-{plan.size}-{plan.seed}"
    inputs = [
        features(network, pixels, rows, plan.size, work / features_folder(name, view), view, plan.seed)
        for view in range(views + 1)
    ]
    np.savez(work / SEEN_FILE, rows=rows, inputs=inputs[CLEAN])
    photos = [training[row] for row in rows]
    kept = ~doubtful(inputs[CLEAN], photos, OWN_BELOW, OTHER_ABOVE)
    photos = [photo for photo, keep in zip(photos, kept, strict=True) if keep]
    network.head = linear_head([values[kept] for values in inputs], photos)
    recipe = {
        "size": plan.size,
        "photos": len(photos),
        "doubtful": len(rows) - len(photos),
        "per_source": per_source,
        "views": views,
        "steps": plan.steps,
        "frozen_blocks": plan.frozen_blocks,
    }
    return Tuning(network, pixels, rows[kept], photos, plan).run(work / f"tuned-{name}-{plan.steps}.pt"), recipe


def features_folder(name: str, view: int) -> str:
    return f"features-{name}-view-{view}" if view else f"features-{name}"


if __name__ == "__main__":
    main()
