"""The pictures of the card, drawn with nothing but Pillow."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from catalogue import LABELS
from curve import ALL, Point
from measure import BINS, Calibration
from pictures import Pixels

CELL, MARGIN = 44, 96
SIDE, EDGE = 300, 44
INK, PALE, BLUE = (30, 30, 30), (205, 205, 205), (38, 98, 168)

FONT, SMALL_FONT = ImageFont.load_default(12), ImageFont.load_default(11)
TILES_A_ROW = 4


def confusion_matrix(table: NDArray[np.int64], file: Path) -> None:
    """Rows are labels, columns answers; the darker, the larger the share of the label."""
    side = MARGIN + CELL * len(LABELS) + 8
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    for row, name in enumerate(LABELS):
        middle = MARGIN + CELL * row + CELL // 2
        draw.text((MARGIN - 6, middle), name, INK, FONT, anchor="rm")
        _sideways(picture, name, middle)
        for column in range(len(LABELS)):
            _cell(draw, row, column, int(table[row, column]), float(shares[row, column]))
    draw.text((6, 6), "rows: label, columns: answer", INK, FONT)
    _save(picture, file)


def calibration_curve(measured: Calibration, file: Path) -> None:
    """How often answers of a confidence are right; on the diagonal the confidence is true."""
    picture = Image.new("RGB", (SIDE + 2 * EDGE, SIDE + 2 * EDGE), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((EDGE, EDGE, EDGE + SIDE, EDGE + SIDE), outline=PALE)
    draw.line((*_at(0, 0), *_at(1, 1)), PALE, 2)
    for share in (0.0, 0.5, 1.0):
        draw.text((EDGE + SIDE * share, EDGE + SIDE + 6), f"{share:.1f}", INK, FONT, anchor="ma")
        draw.text((EDGE - 6, EDGE + SIDE * (1 - share)), f"{share:.1f}", INK, FONT, anchor="rm")
    for index in range(BINS):
        if measured.counts[index]:
            _bin(draw, measured, index)
    draw.text((EDGE + SIDE / 2, EDGE + SIDE + 24), "confidence", INK, FONT, anchor="ma")
    draw.text((EDGE, EDGE - 22), "share that is right (area: how many answers)", INK, FONT)
    _save(picture, file)


def learning_curve(points: Sequence[Point], file: Path) -> None:
    """Share that is right by the number of photos learnt from: open where whole sources are left out."""
    picture = Image.new("RGB", (SIDE + 2 * EDGE, SIDE + 2 * EDGE), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((EDGE, EDGE, EDGE + SIDE, EDGE + SIDE), outline=PALE)
    for share in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        draw.text((EDGE - 6, _along(100, share)[1]), f"{share:.1f}", INK, FONT, anchor="rm")
        draw.line((*_along(100, share), *_along(10_000, share)), PALE)
    for photos in (100, 1000, 10_000):
        draw.text((_along(photos, 0)[0], EDGE + SIDE + 6), str(photos), INK, FONT, anchor="ma")
    whole = [_along(point["photos"], point["top1"]) for point in points if point["sources"] == ALL]
    draw.line([part for place in whole for part in place], BLUE, 2)
    for point in points:
        across, up = _along(point["photos"], point["top1"])
        draw.ellipse((across - 5, up - 5, across + 5, up + 5), BLUE if point["sources"] == ALL else "white", BLUE, 2)
    draw.text((EDGE + SIDE / 2, EDGE + SIDE + 24), "photos learnt from", INK, FONT, anchor="ma")
    draw.text((EDGE, EDGE - 22), "share that is right (open: fewer sources)", INK, FONT)
    _save(picture, file)


def failures(pictures: Sequence[tuple[str, Pixels]], file: Path) -> None:
    """Pictures in rows, each above its caption."""
    tile, line = 192, 34
    rows = -(-len(pictures) // TILES_A_ROW)
    sheet = Image.new("RGB", (TILES_A_ROW * (tile + 8) + 8, max(1, rows) * (tile + line) + 8), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (caption, picture) in enumerate(pictures):
        left, top = 8 + index % TILES_A_ROW * (tile + 8), 8 + index // TILES_A_ROW * (tile + line)
        sheet.paste(Image.fromarray(picture).resize((tile, tile)), (left, top))
        draw.text((left, top + tile + 2), caption, INK, SMALL_FONT)
    sheet.save(file, quality=80)


def _along(photos: float, right: float) -> tuple[float, float]:
    """From 100 to 10,000 photos in logarithms, from 0.4 to 0.9 right."""
    return EDGE + SIDE * (np.log10(photos) - 2) / 2, EDGE + SIDE * (0.9 - right) / 0.5


def _cell(draw: ImageDraw.ImageDraw, row: int, column: int, count: int, share: float) -> None:
    left, top = MARGIN + CELL * column, MARGIN + CELL * row
    shade = tuple(round(255 + (part - 255) * share) for part in BLUE)
    draw.rectangle((left, top, left + CELL, top + CELL), shade, PALE)
    if count:
        ink = "white" if share > 0.5 else INK
        draw.text((left + CELL / 2, top + CELL / 2), str(count), ink, FONT, anchor="mm")


def _sideways(picture: Image.Image, name: str, middle: int) -> None:
    strip = Image.new("RGB", (MARGIN - 10, 16), "white")
    ImageDraw.Draw(strip).text((0, 8), name, INK, FONT, anchor="lm")
    picture.paste(strip.rotate(90, expand=True), (middle - 8, 4))


def _bin(draw: ImageDraw.ImageDraw, measured: Calibration, index: int) -> None:
    across, up = _at(float(measured.confidence[index]), float(measured.right[index]))
    reach = 2 + 14 * float(np.sqrt(measured.counts[index] / measured.counts.sum()))
    draw.ellipse((across - reach, up - reach, across + reach, up + reach), BLUE)


def _at(confidence: float, right: float) -> tuple[float, float]:
    return EDGE + SIDE * confidence, EDGE + SIDE * (1 - right)


def _save(picture: Image.Image, file: Path) -> None:
    picture.quantize(32).save(file, optimize=True)
