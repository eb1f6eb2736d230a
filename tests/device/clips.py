"""Clips for the emulated camera: concatenated JPEG pictures without thumbnails."""

import io
import random

from PIL import Image

from guest import ROOT

WIDTH, HEIGHT = 640, 480
END = b"\xff\xd9"


def ground():
    """A picture of nothing in particular, with structure for the motion gate to hold on to; the same each time."""
    size = WIDTH // 4, HEIGHT // 4
    levels = random.Random(1)
    noise = bytes(min(255, max(0, round(levels.gauss(128, 60)))) for _ in range(size[0] * size[1]))
    return Image.frombytes("L", size, noise).resize((WIDTH, HEIGHT)).convert("RGB")


def jpeg(picture):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def crossing(frames):
    """A vehicle that crosses the picture from left to right: the photograph that the model is tested with."""
    scene, vehicle = ground(), Image.open(ROOT / "models/vehicle-type/1.0.0/golden.jpg").resize((240, 99))
    pictures = []
    for number in range(frames):
        picture = scene.copy()
        picture.paste(vehicle, (number * (WIDTH + 360) // frames - 280, 260))
        pictures.append(jpeg(picture))
    return pictures


def still(frames):
    """A road on which nothing happens, as a camera with a little noise sees it."""
    scene = ground()
    noisy = lambda: Image.blend(scene, Image.effect_noise((WIDTH, HEIGHT), 60).convert("RGB"), 0.03)
    return [jpeg(noisy()) for _ in range(frames)]


def pictures_of(path):
    return [picture + END for picture in path.read_bytes().split(END)[:-1]]


def size_of(picture):
    return Image.open(io.BytesIO(picture)).size
