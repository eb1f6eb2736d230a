"""The decoded photos as one file, so that no epoch decodes them again."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalogue import Photo
from pictures import Picture, Pixels, load

CHUNK = 256


def cached(photos: Sequence[Photo], size: int, folder: Path) -> Pixels:
    """The photos stretched to `size` x `size`, as the daemon does it; decoded once per folder."""
    names = "\n".join(str(photo.path) for photo in photos)
    digest = hashlib.sha256(names.encode()).hexdigest()[:12]
    file = folder / f"pixels-{size}-{digest}.npy"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")
        _decode(photos, size, unfinished)
        unfinished.rename(file)
    return np.load(file, mmap_mode="r")


def _decode(photos: Sequence[Photo], size: int, file: Path) -> None:
    shape = (len(photos), size, size, 3)
    pixels: NDArray[np.uint8] = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    for start in range(0, len(photos), CHUNK):
        chunk = photos[start : start + CHUNK]
        pixels[start : start + CHUNK] = load(
            [Picture(photo.path, str(photo.label), photo.source) for photo in chunk], "stretch", size
        )
    pixels.flush()
