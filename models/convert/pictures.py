"""Pictures for calibrating and measuring: which ones, and how they become a tensor.

A pictures folder holds one folder per label. A file is named `<source>__<rest>`, so that a sample can
give every source the same weight and one large source cannot decide a figure.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GREY = (128, 128, 128)
SHUFFLE_SEED = 1
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png"}

Pixels = NDArray[np.uint8]
"""One RGB picture, height x width x 3."""


@dataclass(frozen=True)
class Picture:
    """A picture file and what is known about it."""

    path: Path
    label: str
    source: str


def split_by_source(
    folder: Path, calibration_per_source: int, measuring_per_source: int
) -> tuple[list[Picture], list[Picture]]:
    """Two disjoint samples of `folder`, each with at most that many pictures per label and source.

    The same folder always gives the same samples.
    """
    groups: dict[tuple[str, str], list[Picture]] = defaultdict(list)
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            label, source = path.parent.name, path.name.split("__")[0]
            groups[label, source].append(Picture(path, label, source))
    order = random.Random(SHUFFLE_SEED)
    calibration: list[Picture] = []
    measuring: list[Picture] = []
    for group in groups.values():
        order.shuffle(group)
        calibration += group[:calibration_per_source]
        measuring += group[calibration_per_source:][:measuring_per_source]
    return calibration, measuring


def fit(picture: Image.Image, mode: str, size: int) -> Pixels:
    """Bring an RGB picture to `size` x `size` in one of the manifest's three ways."""
    if mode == "centre_crop":
        picture = _largest_centred_square(picture)
    elif mode == "pad":
        picture = _letterbox(picture)
    elif mode != "stretch":
        raise ValueError(f"unknown fit: {mode}")
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def load(pictures: Sequence[Picture], mode: str, size: int) -> Pixels:
    """Decode and fit pictures: count x size x size x 3."""
    fitted = []
    for picture in pictures:
        with Image.open(picture.path) as image:
            fitted.append(fit(image.convert("RGB"), mode, size))
    return np.stack(fitted)


def on_grey(picture: Image.Image, long_side_px: int) -> Image.Image:
    """Lay a cut-out on grey and shrink it to a long side of at most `long_side_px`."""
    cut_out = picture.convert("RGBA")
    canvas = Image.new("RGBA", cut_out.size, (*GREY, 255))
    canvas.alpha_composite(cut_out)
    canvas.thumbnail((long_side_px, long_side_px))
    return canvas.convert("RGB")


def _largest_centred_square(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _letterbox(picture: Image.Image) -> Image.Image:
    side = max(picture.size)
    canvas = Image.new("RGB", (side, side), GREY)
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return canvas
