"""What the road does to a picture, on batches of N x 3 x H x W floats from 0 to 255.

Training draws these at random strengths; the corruption table of the card uses fixed ones.
"""

import io
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

WHITE = 255.0
FOG_GREY = 190.0
ROAD_GREY = 110.0


def low_resolution(batch: Tensor, side: int) -> Tensor:
    """What remains of a crop that was only `side` pixels in the frame."""
    shape = batch.shape[-2:]
    small = functional.interpolate(batch, size=(side, side), mode="bilinear", antialias=True)
    return functional.interpolate(small, size=shape, mode="bilinear")


def motion_blur(batch: Tensor, length: int, angle: float) -> Tensor:
    """The camera's exposure smears a mover along a line of `length` pixels."""
    return _convolve(batch, _line(length, angle))


def night(batch: Tensor, light: float, lamps: int, random: torch.Generator) -> Tensor:
    """Little light, warm lamps with glare around them, sensor noise."""
    warm = torch.tensor([1.08, 1.0, 0.85]).view(1, 3, 1, 1)
    dark = WHITE * light * warm * (batch / WHITE) ** 1.3
    for _ in range(lamps):
        dark = dark + _glare(batch, random)
    return (dark + 7 * torch.randn(batch.shape, generator=random)).clamp(0, WHITE)


def rain(batch: Tensor, density: float, angle: float, random: torch.Generator) -> Tensor:
    """Bright streaks over a paler picture."""
    count, _, height, width = batch.shape
    drops = (torch.rand(count, 1, height, width, generator=random) < density).float()
    streaks = (_convolve(drops, _line(15, angle)) * 15).clamp(0, 1)
    pale = batch * 0.8 + 0.2 * FOG_GREY * 0.7
    return pale + streaks * (210 - pale) * 0.6


def fog(batch: Tensor, thickness: float) -> Tensor:
    return batch * (1 - thickness) + FOG_GREY * thickness


def jpeg(batch: Tensor, quality: int) -> Tensor:
    """Blocks and ringing of a strongly compressed stream."""
    pixels = batch.round().clamp(0, WHITE).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return torch.stack([_recompressed(picture, quality) for picture in pixels])


def occlude(batch: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Cover part of every picture with part of its neighbour in the batch."""
    height, width = batch.shape[-2:]
    covered = batch.clone()
    for index in range(len(batch)):
        stretch = float(torch.empty(1).uniform_(0.6, 1.7, generator=random))
        rows = min(height, int(height * math.sqrt(share) * stretch))
        columns = min(width, int(width * math.sqrt(share) / stretch))
        top = int(torch.randint(height - rows + 1, (1,), generator=random))
        left = int(torch.randint(width - columns + 1, (1,), generator=random))
        patch = (slice(top, top + rows), slice(left, left + columns))
        covered[index, :, *patch] = batch[index - 1, :, *patch]
    return covered


def _line(length: int, angle: float) -> Tensor:
    """A convolution kernel: a line through the centre."""
    kernel = torch.zeros(length, length)
    centre = (length - 1) / 2
    for step in torch.linspace(-centre, centre, 2 * length):
        row = round(centre + float(step) * math.sin(angle))
        column = round(centre + float(step) * math.cos(angle))
        kernel[row, column] = 1
    return kernel / kernel.sum()


def _convolve(batch: Tensor, kernel: Tensor) -> Tensor:
    channels, length = batch.shape[1], len(kernel)
    before = (length - 1) // 2
    padded = functional.pad(batch, (before, length - 1 - before) * 2, mode="replicate")
    return functional.conv2d(padded, kernel.expand(channels, 1, -1, -1).contiguous(), groups=channels)


def _glare(batch: Tensor, random: torch.Generator) -> Tensor:
    """One lamp per picture, at random places and sizes."""
    count, _, height, width = batch.shape
    centre = torch.rand(count, 2, 1, 1, generator=random)
    reach = torch.empty(count, 1, 1).uniform_(0.03, 0.12, generator=random)
    rows = torch.linspace(0, 1, height).view(1, -1, 1) - centre[:, 0]
    columns = torch.linspace(0, 1, width).view(1, 1, -1) - centre[:, 1]
    return 230 * torch.exp(-(rows**2 + columns**2) / (2 * reach**2))[:, None]


def _recompressed(picture: np.ndarray, quality: int) -> Tensor:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as decoded:
        return torch.from_numpy(np.array(decoded)).permute(2, 0, 1).float()
