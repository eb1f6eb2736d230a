"""The golden picture and pattern of a manifest: how a device checks itself at every start."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pictures import Pixels, fit, on_grey
from runtime import Int8Model

TYPE = "emergency"
LONG_SIDE_PX = 320
JPEG_QUALITY = 88
MARGIN = 0.1
"""How far below the measured confidence a device may be on the golden picture."""
LICENCE = "CC-BY-2.5"
SOURCE = (
    "Engine 28 of Palm Beach County Fire-Rescue, photographed by Aaron M. Lang (Wikipedia user LangAM), "
    "cut out by Bill Kendrick for Tux Paint: vehicles/emergency/firetruck.png of the Debian package "
    "tuxpaint-stamps-default 2022.06.04-1, laid on grey and made smaller here"
)
PATTERN_MULTIPLIER = 2654435761
PATTERN_TOP = 10
PATTERN_TOLERANCE = 3


def write(cut_out: Path, output: Path) -> Path:
    """Write the picture a device checks itself with at every start."""
    golden = output / "golden.jpg"
    with Image.open(cut_out) as picture:
        on_grey(picture, LONG_SIDE_PX).save(golden, quality=JPEG_QUALITY)
    return golden


def pixels(golden: Path, mode: str, size: int) -> Pixels:
    """The picture as a stack of one."""
    with Image.open(golden) as picture:
        return fit(picture, mode, size)[None]


def entry(golden: Path, confidence: float) -> dict[str, Any]:
    """The manifest's `golden.picture`."""
    return {
        "file": golden.name,
        "sha256": sha256(golden.read_bytes()),
        "licence": LICENCE,
        "source": SOURCE,
        "expected": {"type": TYPE},
        "confidence_min": round(confidence - MARGIN, 2),
    }


def pattern(model: Int8Model, size: int) -> dict[str, Any]:
    """The ten highest outputs for a generated tensor: proves the runtime without any picture."""
    index = np.arange(size * size * 3, dtype=np.uint64)
    values = (index * np.uint64(PATTERN_MULTIPLIER) >> np.uint64(24)) & np.uint64(255)
    tensor = (values.astype(np.int16) - 128).astype(np.int8).reshape(size, size, 3)
    logits = model.invoke(tensor)
    highest = np.argsort(-logits.astype(np.int16), kind="stable")[:PATTERN_TOP]
    return {
        "name": "multiplicative-v1",
        "top": [{"index": int(output), "logit": int(logits[output])} for output in highest],
        "tolerance": PATTERN_TOLERANCE,
    }


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
