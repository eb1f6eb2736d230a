"""The photos of a data folder: label, source, licence, and which of them may be trained on.

A data folder holds `train/<label>/<source>__<rest>.jpg` and SOURCES.csv with one row per photo.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LABELS = (
    "background",
    "bicycle",
    "bus",
    "car",
    "emergency",
    "motorcycle",
    "pickup",
    "suv",
    "truck",
    "van",
)

FOLDS = {
    "zen": 0,
    "lza": 0,
    "k400": 0,
    "scars": 1,
    "recap": 1,
    "lzb": 1,
    "oiv": 1,
    "dhk": 2,
    "minston": 2,
    "hwy": 3,
    "atl": 3,
    "yonghah": 3,
    "ilham": 3,
    "jana": 4,
    "dawn": 4,
    "carbike": 4,
}
"""Which network is measured on a source: one that never saw it, nor any other of its fold. README.md says why."""

SHIPPED = -1
"""In place of a fold: the shipped network, which learns from every source."""

CAR_MAY_BE = {
    "atl": ("car", "suv", "pickup"),
    "dawn": ("car", "suv", "pickup", "van"),
    "oiv": ("car", "suv"),
}
"""Sources without some of our types: what a photo they call a car may show, as far as their photos looked at tell."""

PERMISSIVE = frozenset({"zen", "recap", "dhk", "atl", "hwy"})
"""Sources whose publisher states a licence that allows commercial use."""


@dataclass(frozen=True)
class Photo:
    """One photo of the data folder."""

    path: Path
    label: int
    source: str


def read(data: Path) -> list[Photo]:
    """Every training photo SOURCES.csv names, in its order."""
    with (data / "SOURCES.csv").open(newline="") as rows:
        return [
            Photo(data / row["file"], LABELS.index(row["label"]), source_of(row["file"]))
            for row in csv.DictReader(rows)
            if row["split"] == "train"
        ]


def source_of(file: str) -> str:
    """The file's prefix."""
    return Path(file).name.split("__", 1)[0]


def training_rows(photos: Sequence[Photo], fold: int, permissive: bool) -> NDArray[np.int64]:
    """Which photos the network of a fold learns from: those of every other fold; for `SHIPPED` every photo."""
    return np.array(
        [
            row
            for row, photo in enumerate(photos)
            if FOLDS[photo.source] != fold and (not permissive or photo.source in PERMISSIVE)
        ]
    )


def possible(photos: Sequence[Photo]) -> NDArray[np.float32]:
    """Photos x labels: 1 for every label the photo may have by what its source tells."""
    table = np.eye(len(LABELS), dtype=np.float32)[labels(photos)]
    for row, photo in enumerate(photos):
        if LABELS[photo.label] == "car":
            for label in CAR_MAY_BE.get(photo.source, ()):
                table[row, LABELS.index(label)] = 1
    return table


def folds(photos: Sequence[Photo]) -> NDArray[np.int64]:
    return np.array([FOLDS[photo.source] for photo in photos])


def labels(photos: Sequence[Photo]) -> NDArray[np.int64]:
    return np.array([photo.label for photo in photos])


def sources(photos: Sequence[Photo]) -> NDArray[np.str_]:
    return np.array([photo.source for photo in photos])


def balanced_weights(photos: Sequence[Photo], cap: float) -> NDArray[np.float64]:
    """How often to draw each photo: labels equally, and within a label no source decides alone.

    A source's share of its label grows with the square root of its photos and is at most `cap` times
    that of an even split, so that neither its size nor its rarity makes the source a label.
    """
    names, own = sources(photos), labels(photos)
    weights = np.zeros(len(photos))
    for label in np.unique(own):
        present, counts = np.unique(names[own == label], return_counts=True)
        shares = np.sqrt(counts)
        shares = np.minimum(shares / shares.sum(), cap / len(present))
        for source, count, share in zip(present, counts, shares / shares.sum(), strict=True):
            weights[(own == label) & (names == source)] = share / count
    return weights / weights.sum()


def at_most(photos: Sequence[Photo], count: int, seed: int) -> NDArray[np.int64]:
    """Rows of at most that many photos per label and source, drawn at random."""
    random = np.random.default_rng(seed)
    own, names = labels(photos), sources(photos)
    chosen = [
        random.permutation(np.flatnonzero((own == label) & (names == source)))[:count]
        for label in range(len(LABELS))
        for source in np.unique(names[own == label])
    ]
    return np.sort(np.concatenate(chosen))
