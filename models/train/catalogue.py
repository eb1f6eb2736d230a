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

HELD_OUT = frozenset({"atl", "dawn", "hwy", "k400", "minston", "oiv", "dhk.Navid", "dhk.Pias"})
"""Sources no training ever sees. README.md says why each is honest."""

UNKNOWN = frozenset({"dhk.unnamed"})
"""Neither trained on nor measured: these may be anybody's streets."""

PERMISSIVE = frozenset({"zen", "recap", "dhk.Dipto", "dhk.Numan", "dhk.Asraf"})
"""Training sources whose publisher states a licence that allows commercial use."""

PHOTOGRAPHERS = ("Asraf", "Dipto", "Navid", "Numan", "Pias")
"""Of the source `dhk`, by the file names; each took other streets with another camera."""


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
    """The file's prefix; `dhk` is one source per photographer."""
    source, rest = Path(file).name.split("__", 1)
    if source != "dhk":
        return source
    photographer = rest.split("_")[0]
    return f"dhk.{photographer if photographer in PHOTOGRAPHERS else 'unnamed'}"


def split(photos: Sequence[Photo], permissive: bool) -> tuple[list[Photo], list[Photo]]:
    """Photos to train on and photos to measure on; they share no source."""
    held_out = [photo for photo in photos if photo.source in HELD_OUT]
    training = [
        photo
        for photo in photos
        if photo.source not in HELD_OUT | UNKNOWN and (not permissive or photo.source in PERMISSIVE)
    ]
    return training, held_out


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
