"""The learning curve: what a head on published features gets right by how many photos and sources it learnt from.

Heads on clean photos only, because an augmented or fine-tuned network per point would take hours.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from catalogue import LABELS, Photo, at_most, folds, labels, sources
from learn import linear_head
from measure import confusion, macro, top1

PHOTOS = (5, 15, 40, 120)
"""At most so many photos per label and source, of all sources."""
SOURCES = (1, 2, 3)
"""At most so many sources per label, each with all its photos."""
TESTED = 60
"""Photos per label and source that are measured."""
DRAWS = 2
SEED = 1

ALL = 0
"""In place of a number: no limit."""

Features = NDArray[np.float32]
Point = dict[str, float]


def measured(photos: Sequence[Photo], vectors: Features) -> list[Point]:
    """One row per size of the training set, the mean of several draws where there is anything to draw."""
    draws = range(SEED, SEED + DRAWS)
    points = []
    for count in PHOTOS:
        points.append({"per_source": count, "sources": ALL} | _point(photos, vectors, count, ALL, draws))
    for count in SOURCES:
        points.append({"per_source": ALL, "sources": count} | _point(photos, vectors, ALL, count, draws))
    return [*points, {"per_source": ALL, "sources": ALL} | _point(photos, vectors, ALL, ALL, [SEED])]


def _point(photos: Sequence[Photo], vectors: Features, count: int, few: int, draws: Sequence[int]) -> Point:
    """Every fold's photos answered by a head that learnt from what a draw leaves of the other folds."""
    own, of, tested = labels(photos), folds(photos), at_most(photos, TESTED, SEED)
    figures = []
    for draw in draws:
        logits, learnt = np.zeros((len(photos), len(LABELS)), np.float32), []
        for fold in np.unique(of):
            rows = np.flatnonzero(of != fold)
            known = [photos[row] for row in rows]
            drawn = _of_few_sources(known, few, draw) if few else at_most(known, count or len(known), draw)
            head = linear_head([vectors[rows[drawn]]], [known[row] for row in drawn])
            with torch.inference_mode():
                logits[of == fold] = head(torch.from_numpy(vectors[of == fold])).numpy()
            learnt.append(len(drawn))
        right = logits[tested], own[tested]
        figures.append((np.mean(learnt), top1(*right), macro(confusion(*right))))
    photos_learnt, mean, types = np.mean(figures, 0).tolist()
    least, most = min(figure[1] for figure in figures), max(figure[1] for figure in figures)
    return {"photos": photos_learnt, "top1": mean, "least": least, "most": most, "macro": types}


def _of_few_sources(photos: Sequence[Photo], count: int, seed: int) -> NDArray[np.int64]:
    """Photos of that many sources of every label, drawn for each label alone."""
    random = np.random.default_rng(seed)
    own, names = labels(photos), sources(photos)
    chosen = [
        np.flatnonzero((own == label) & np.isin(names, random.permutation(np.unique(names[own == label]))[:count]))
        for label in range(len(LABELS))
    ]
    return np.sort(np.concatenate(chosen))
