"""The card's corruption table: fixed strengths of what the road does."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import road
from pictures import Pixels

SEED = 7
CHUNK = 256
"""Pictures in memory at once, as floats."""

Corruption = Callable[[Tensor, torch.Generator], Tensor]

CORRUPTIONS: dict[str, Corruption] = {
    "48-pixel crop": lambda batch, _: road.low_resolution(batch, 48),
    "40-pixel crop": lambda batch, _: road.low_resolution(batch, 40),
    "32-pixel crop": lambda batch, _: road.low_resolution(batch, 32),
    "motion blur": lambda batch, _: road.motion_blur(batch, 9, 0.3),
    "night with lamps": lambda batch, random: road.night(batch, 0.35, 1, random),
    "rain": lambda batch, random: road.rain(batch, 0.005, 1.4, random),
    "fog": lambda batch, _: road.fog(batch, 0.5),
    "JPEG quality 20": lambda batch, _: road.jpeg(batch, 20),
    "a fifth covered": lambda batch, random: road.occlude(batch, 0.2, random),
}


def corrupted(pixels: Pixels, corruption: Corruption) -> Pixels:
    """The same pictures, every one of them harmed; the same harm at every call."""
    random = torch.Generator().manual_seed(SEED)
    parts = []
    for part in torch.from_numpy(np.ascontiguousarray(pixels)).split(CHUNK):
        harmed = corruption(part.permute(0, 3, 1, 2).float(), random)
        parts.append(harmed.round().clamp(0, road.WHITE).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy())
    return np.concatenate(parts)
