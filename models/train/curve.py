"""The learning curve: what a head on published features gets right by how many photos and sources it learnt from.

Heads on clean photos only, because an augmented or fine-tuned network per point would take hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from catalogue import LABELS, Photo, at_most, labels, sources
from learn import linear_head
from measure import confusion, macro, top1

PHOTOS = (5, 15, 40, 120)
"""At most so many photos per label and source, of all sources."""
SOURCES = (1, 2, 3)
"""At most so many sources per label, each with all its photos."""
DRAWS = 4
SEED = 1

ALL = 0
"""In place of a number: no limit."""

Features = NDArray[np.float32]
Point = dict[str, float]


@dataclass(frozen=True)
class Set:
    """Photos and what the published network says of them."""

    photos: Sequence[Photo]
    inputs: Features


def measured(training: Set, held_out: Set) -> list[Point]:
    """One row per size of the training set, the mean of several draws where there is anything to draw."""
    draws = range(SEED, SEED + DRAWS)
    points = []
    for count in PHOTOS:
        rows = [at_most(training.photos, count, draw) for draw in draws]
        points.append({"per_source": count, "sources": ALL} | _point(rows, training, held_out))
    for count in SOURCES:
        rows = [_of_few_sources(training.photos, count, draw) for draw in draws]
        points.append({"per_source": ALL, "sources": count} | _point(rows, training, held_out))
    everything = [np.arange(len(training.photos))]
    return [*points, {"per_source": ALL, "sources": ALL} | _point(everything, training, held_out)]


def _point(draws: Sequence[NDArray[np.int64]], training: Set, held_out: Set) -> Point:
    own, figures = labels(held_out.photos), []
    for rows in draws:
        head = linear_head([training.inputs[rows]], [training.photos[row] for row in rows])
        with torch.inference_mode():
            answers = head(torch.from_numpy(held_out.inputs)).numpy()
        figures.append((len(rows), top1(answers, own), macro(confusion(answers, own))))
    photos, right, mean = np.mean(figures, 0).tolist()
    least, most = min(figure[1] for figure in figures), max(figure[1] for figure in figures)
    return {"photos": photos, "top1": right, "least": least, "most": most, "macro": mean}


def _of_few_sources(photos: Sequence[Photo], count: int, seed: int) -> NDArray[np.int64]:
    """Photos of that many sources of every label, drawn for each label alone."""
    random = np.random.default_rng(seed)
    own, names = labels(photos), sources(photos)
    chosen = [
        np.flatnonzero((own == label) & np.isin(names, random.permutation(np.unique(names[own == label]))[:count]))
        for label in range(len(LABELS))
    ]
    return np.sort(np.concatenate(chosen))
