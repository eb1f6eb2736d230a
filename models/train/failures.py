"""Where it fails, shown: the golden photo, which may be shown, harmed more and more until the answer is another one.

The photos it is trained and measured on are not part of the repository, so none of their failures can be pictured.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import golden
import road
from catalogue import LABELS
from corruptions import corrupted
from measure import softmax
from pictures import Pixels
from runtime import Int8Model
from ship import FIT

Harm = Callable[[Tensor, float, torch.Generator], Tensor]

LADDERS: dict[str, tuple[str, tuple[float, ...], Harm]] = {
    "few pixels": ("{:.0f} px", (48, 40, 32, 24, 16, 12, 8), lambda one, side, _: road.low_resolution(one, int(side))),
    "motion blur": (
        "{:.0f} px of {}", (9, 15, 25, 35, 51), lambda one, length, _: road.motion_blur(one, int(length), 0.3)
    ),
    "night with a lamp": (
        "{:.0%} of the light", (0.35, 0.25, 0.18, 0.12, 0.08, 0.05), lambda one, light, draw: road.night(one, light, 1, draw)
    ),
    "rain": ("{:.1%} of the pixels", (0.005, 0.01, 0.02, 0.04), lambda one, share, draw: road.rain(one, share, 1.4, draw)),
    "fog": ("{:.0%} thick", (0.5, 0.7, 0.8, 0.9, 0.95), lambda one, thickness, _: road.fog(one, thickness)),
    "JPEG": ("quality {:.0f}", (20, 10, 5, 2), lambda one, quality, _: road.jpeg(one, int(quality))),
    "cut off": ("{:.0%} of its length left", (0.66, 0.5, 0.33, 0.25), lambda one, share, _: cut_off(one, share)),
    "loose crop": ("{:.0%} of the width", (0.7, 0.5, 0.35, 0.25), lambda one, share, _: far_away(one, share)),
}
"""Per harm: how its strength (and the side of the picture) is written, the strengths from weak to strong, and what it does to a
batch of one."""


def found(folder: Path, size: int, temperature: float) -> tuple[list[dict[str, Any]], list[tuple[str, Pixels]]]:
    """Per harm the last strength that is answered rightly and the first that is not; the pictures of the latter, each under its caption."""
    model = Int8Model((folder / "model.tflite").read_bytes())
    whole = golden.pixels(folder / "golden.jpg", FIT, size).copy()
    rows, pictures = [], []
    for name, (wording, strengths, harm) in LADDERS.items():
        row: dict[str, Any] = {"harm": name, "right": None, "wrong": None}
        for strength in strengths:
            harmed = corrupted(whole, lambda one, random, harm=harm, strength=strength: harm(one, strength, random))
            (probabilities,) = softmax(model.logits(harmed), temperature)
            answer, confidence = LABELS[int(probabilities.argmax())], float(probabilities.max())
            said = wording.format(strength, size)
            if answer != golden.TYPE:
                row |= {"wrong": said, "answer": answer, "confidence": confidence}
                pictures.append((f"{name}, {said}\n{answer} {confidence:.2f}", harmed[0]))
                break
            row["right"] = said
        rows.append(row)
    return rows, pictures


def cut_off(one: Tensor, share: float) -> Tensor:
    """Only the left part is in the picture, and fills the crop."""
    left = one[..., : max(1, round(one.shape[-1] * share))]
    return torch.nn.functional.interpolate(left, size=one.shape[-2:], mode="bilinear")


def far_away(one: Tensor, share: float) -> Tensor:
    """In the middle of a crop that shows mostly grey road."""
    side = one.shape[-1]
    small = torch.nn.functional.interpolate(one, scale_factor=share, mode="bilinear", antialias=True)
    road_around = torch.full_like(one, road.ROAD_GREY)
    first = (side - small.shape[-1]) // 2
    road_around[..., first : first + small.shape[-2], first : first + small.shape[-1]] = small
    return road_around
