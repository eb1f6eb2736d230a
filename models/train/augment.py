"""Training pictures as a road camera might have seen them: random crops, light, weather, resolution."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

import road

Effect = Callable[[Tensor], Tensor]

HARD, NIGHT = "hard", "night"
"""Kinds of copies with more than another crop and other light, which any other kind (`mild`) is: all that the road does; night."""


class Augmenter:
    """Draws every random decision from one seeded generator."""

    def __init__(self, size: int, seed: int, kind: str) -> None:
        self._size, self._kind = size, kind
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, pixels: Tensor) -> Tensor:
        """From N x H x W x 3 bytes to the network's N x 3 x size x size floats."""
        batch = self._loose_crop(pixels.permute(0, 3, 1, 2).float())
        batch = self._colour(batch)
        if self._kind == HARD:
            batch = self._weather(batch)
        elif self._kind == NIGHT:
            batch = self._nights(batch)
        return ((batch.clamp(0, road.WHITE) - 127) / 128).contiguous(memory_format=torch.channels_last)

    def _loose_crop(self, batch: Tensor) -> Tensor:
        """Off-centre, too wide or too tight, tilted, mirrored: boxes of a tracker, not of a photographer."""
        count = len(batch)
        # A scale above 1 shows more than the photo; its edge is repeated outwards.
        zoom = self._between(0.7, 1.4, count)
        ratio = self._between(-0.2, 0.2, count).exp()
        # Some cameras hang far aside, so that what they see is tilted a good deal.
        tilt = self._between(-0.1, 0.1, count) * torch.where(self._between(0, 1, count) < 0.25, 3.5, 1.0)
        mirror = torch.where(self._between(0, 1, count) < 0.5, -1.0, 1.0)
        turn = torch.stack(
            [
                torch.stack([zoom * ratio * mirror * tilt.cos(), -zoom * tilt.sin()], 1),
                torch.stack([zoom * mirror * tilt.sin(), zoom / ratio * tilt.cos()], 1),
            ],
            1,
        )
        shift = self._between(-0.2, 0.2, count, 2, 1)
        shape = [count, 3, self._size, self._size]
        grid = functional.affine_grid(torch.cat([turn, shift], 2), shape, align_corners=False)
        # Seen from higher up or from nearer: one side of the picture is larger than the other.
        away = self._between(-0.2, 0.2, count, 1, 1, 2)
        grid = grid / (1 + (grid * away).sum(3, keepdim=True)).clamp(min=0.5)
        return functional.grid_sample(batch, grid, padding_mode="reflection", align_corners=False)

    def _colour(self, batch: Tensor) -> Tensor:
        count = len(batch)
        grey = batch.mean(1, keepdim=True)
        # Some cameras have no colour at night.
        saturation = self._between(0.4, 1.4, count, 1, 1, 1)
        saturation = torch.where(self._between(0, 1, count, 1, 1, 1) < 0.08, 0.0, saturation)
        batch = grey + (batch - grey) * saturation
        middle = batch.mean((1, 2, 3), keepdim=True)
        batch = middle + (batch - middle) * self._between(0.6, 1.4, count, 1, 1, 1)
        tint = self._between(0.92, 1.08, count, 3, 1, 1)
        return batch * tint * self._between(0.65, 1.35, count, 1, 1, 1)

    def _weather(self, batch: Tensor) -> Tensor:
        batch = self._some(batch, 0.25, self._night)
        batch = self._some(batch, 0.06, lambda part: road.fog(part, self._number(0.2, 0.7)))
        batch = self._some(
            batch,
            0.25,
            lambda part: road.rain(part, self._number(0.002, 0.01), self._number(1.2, 1.9), self._random),
        )
        batch = self._some(batch, 0.15, self._blur)
        # Several draws, because the pictures of one draw share a resolution.
        for _ in range(3):
            batch = self._some(batch, 0.16, lambda part: road.low_resolution(part, int(self._number(32, 100))))
        batch = self._some(batch, 0.2, lambda part: road.jpeg(part, int(self._number(12, 60))))
        return self._some(batch, 0.2, lambda part: road.occlude(part, self._number(0.05, 0.3), self._random))

    def _nights(self, batch: Tensor) -> Tensor:
        # A light and lamps for every few pictures.
        return torch.cat([self._night(part.clamp(0, road.WHITE)) for part in batch.split(8)])

    def _night(self, batch: Tensor) -> Tensor:
        return road.night(batch, self._number(0.2, 0.6), int(self._number(0, 3)), self._random)

    def _blur(self, batch: Tensor) -> Tensor:
        return road.motion_blur(batch, int(self._number(5, 16)), self._number(-math.pi / 2, math.pi / 2))

    def _some(self, batch: Tensor, share: float, effect: Effect) -> Tensor:
        """Apply `effect` to that share of the pictures."""
        chosen = torch.rand(len(batch), generator=self._random) < share
        if chosen.any():
            batch[chosen] = effect(batch[chosen].clamp(0, road.WHITE))
        return batch

    def _between(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(shape).uniform_(low, high, generator=self._random)

    def _number(self, low: float, high: float) -> float:
        return float(self._between(low, high, 1))
