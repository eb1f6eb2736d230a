"""From a data folder to trained weights: one network per fold of sources, and the shipped one of all sources.

Every stage leaves its result in the work folder and is skipped when that is there, so a run that was
cut goes on where it stopped.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from catalogue import FOLDS, SHIPPED, Photo, at_most, read, training_rows
from learn import Plan, linear_head, tune
from network import Network, Recipe, weights_file
from pixels import cached
from views import VIEWS, View, view

CACHE_PX = 256
"""Larger than the network's input, so that a tight random crop still has its detail."""
PER_SOURCE = 250
SIZE = 192


def main() -> None:
    arguments = parse_arguments()
    photos = read(arguments.data)
    rows = at_most(photos, PER_SOURCE, arguments.seed)
    published = Network()
    pixels = cached(photos, CACHE_PX, arguments.work)
    views = [view(published, pixels, rows, arguments.size, name, arguments.work) for name in VIEWS]
    plan = Plan(steps=arguments.steps, seed=arguments.seed)
    chosen = [photos[row] for row in rows]
    for fold in (*sorted(set(FOLDS.values())), SHIPPED):
        file = weights_file(arguments.work, fold, arguments.licence)
        if not file.exists():
            network, recipe = trained(chosen, views, fold, arguments.licence == "permissive", plan)
            torch.save({"recipe": recipe | {"size": arguments.size}, "network": network.state_dict()}, file)
            print(f"{file.name}: {recipe['photos']} photos", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and SOURCES.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches and weights")
    parser.add_argument("--licence", choices=["all", "permissive"], default="all", help="which sources to train on")
    parser.add_argument("--steps", type=int, default=Plan.steps, help="of fine-tuning; 0: the head only")
    parser.add_argument("--size", type=int, default=SIZE, help="of the input, in pixels")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    return parser.parse_args()


def trained(
    photos: Sequence[Photo], views: Sequence[View], fold: int, permissive: bool, plan: Plan
) -> tuple[Network, Recipe]:
    """A head on the published features, then the upper blocks, learnt without the sources of `fold`."""
    rows = training_rows(photos, fold, permissive)
    known = [photos[row] for row in rows]
    network = Network()
    network.head = linear_head([part.vectors[rows] for part in views[:2]], known)
    tune(network, [View(part.maps[rows], part.vectors[rows]) for part in views], known, plan)
    return network, {"photos": len(known), "per_source": PER_SOURCE, "views": len(views), "steps": plan.steps}


if __name__ == "__main__":
    main()
