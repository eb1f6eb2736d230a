"""What the published network says of photos and of augmented copies of them, computed once and kept.

A view is one copy of every photo: the photo itself, or one drawn by `augment.py`. Of each picture two things are kept: what the
lower blocks say, from which the upper ones can be trained without running the lower ones again, and the vector that a
linear head reads.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from augment import Augmenter
from network import FEATURES, Network, half_precision
from pictures import Pixels

CHUNK = 64
VIEWS = ("clean0", "hard1", "hard2", "night3", "night4")
"""Kind and number; the first is the photo."""
ORDER_SEED, SEEDS = 7, 1_000_003
CLEAN = "clean"
"""The kind that is the photo itself; the others are `augment.py`'s."""


@dataclass(frozen=True)
class View:
    """One copy of every photo."""

    maps: NDArray[np.float16]
    """Photos x height x width x channels, as the lower blocks leave them."""
    vectors: NDArray[np.float32]


def view(network: Network, pixels: Pixels, rows: NDArray[np.int64], size: int, name: str, folder: Path) -> View:
    """The view of that name, e.g. `hard3`, of those rows of `pixels`; `network` is as published."""
    home = folder / f"view-{size}-{name}"
    if not (home / "vectors.npy").exists():
        home.mkdir(parents=True, exist_ok=True)
        _compute(network.eval(), pixels, rows, size, name, home)
    return View(np.load(home / "maps.npy", mmap_mode="r"), np.load(home / "vectors.npy"))


@torch.inference_mode()
def _compute(network: Network, pixels: Pixels, rows: NDArray[np.int64], size: int, name: str, home: Path) -> None:
    kind, number = name[:-1], int(name[-1])
    # The augmented pictures of a chunk share strengths and cover each other: not all of one label and source.
    order = np.random.default_rng([ORDER_SEED, number]).permutation(len(rows))
    vectors = np.zeros((len(rows), FEATURES), np.float32)
    maps: NDArray[np.float16] | None = None
    for at in range(0, len(rows), CHUNK):
        chosen = order[at : at + CHUNK]
        batch = pixels[rows[chosen]]
        pictures = clean(batch, size) if kind == CLEAN else augmented(batch, size, kind, number * SEEDS + at)
        with half_precision():
            lower = network.lower(pictures)
            vectors[chosen] = network.upper(lower).float().numpy()
        kept = lower.permute(0, 2, 3, 1).half().numpy()
        if maps is None:
            maps = np.lib.format.open_memmap(home / "maps.npy", "w+", np.float16, (len(rows), *kept.shape[1:]))
        maps[chosen] = kept
    if maps is not None:
        maps.flush()
    np.save(home / "vectors.npy", vectors)


def clean(batch: Pixels, size: int) -> Tensor:
    """Pictures as the network takes them, without any augmentation."""
    pictures = torch.from_numpy(np.ascontiguousarray(batch)).permute(0, 3, 1, 2).float()
    if pictures.shape[-1] != size:
        pictures = functional.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True).round()
    return ((pictures - 127) / 128).contiguous(memory_format=torch.channels_last)


def augmented(batch: Pixels, size: int, kind: str, seed: int) -> Tensor:
    """One copy of each picture as the road might have shown it; the same for the same seed."""
    return Augmenter(size, seed, kind)(torch.from_numpy(batch))


def as_maps(kept: NDArray[np.float16]) -> Tensor:
    """What was kept of the lower blocks, as the upper ones take it."""
    return torch.from_numpy(np.ascontiguousarray(kept)).float().permute(0, 3, 1, 2)
