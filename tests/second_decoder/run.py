#!/usr/bin/env python3
"""Compares the unit's decoders with Pillow, over the test pictures of Pillow's source distribution (among them bmpsuite) and
over every kind of JPEG that cjpeg writes. By hand: run.py [DIRECTORY], which keeps what was fetched there.

Needs the network, cjpeg (Debian's libjpeg-turbo-progs) and requirements.txt. Exit code 1 when a picture has other pixels than
Pillow's, or is refused as damaged although Pillow reads it, except for those below.
"""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
PILLOW = "pillow==11.3.0"
KINDS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"}
SAMPLINGS = ["1x1", "2x1", "1x2", "2x2", "4x1", "4x2", "1x4", "2x2,1x2,1x2", "2x2,2x1,1x1", "1x1,2x2,1x1", "3x1"]
PROGRESSIVE = "0:0-0,0,1;1:0-0,0,1;2:0-0,0,1;0:1-63,0,0;1:1-63,0,0;2:1-63,0,0;0:0-0,1,0;1:0-0,1,0;2:0-0,1,0;"
CODINGS = {
    "baseline": [],
    "progressive": ["-progressive"],
    "restarts": ["-restart", "3B"],
    "progressive-restarts": ["-progressive", "-restart", "2B"],
    "rgb": ["-rgb"],
    "separate": "0;1;2;",
    "separate-colours-first": "1;2;0;",
    "pair": "0;1 2;",
    "progressive-separate": PROGRESSIVE,
}
# Mean difference of a sample that two right decoders may have: they smooth subsampled colours differently.
MEAN_MAX = 3.0
# Pictures that differ for a reason that is known.
KNOWN = {
    "app13.jpg": "4 x 4 pixels, all of them smoothed edges",
    "1_trns.png": "Pillow does not apply this transparency",
    "i_trns.png": "Pillow does not apply this transparency",
    "pal4rletrns.bmp": "pixels that the file leaves out have no colour",
    "pal8rletrns.bmp": "pixels that the file leaves out have no colour",
    "exif_imagemagick_orientation.png": "an orientation in a text chunk is not read",
    "xmp_tags_orientation.png": "an orientation in XMP is not read",
    "xmp_tags_orientation_exiftool.png": "an orientation in XMP is not read",
    "hopper_bad_exif.jpg": "damaged coded data, which Pillow passes over",
    "truncated_app14.jpg": "a segment with a wrong length, which Pillow passes over",
    "badplanes.bmp": "damaged on purpose",
    "badrle.bmp": "damaged on purpose",
    "rletopdown.bmp": "forbidden by the format",
    "mmap_error.bmp": "fewer rows than told, which Pillow passes over",
    "no_palette.gif": "a GIF without colours",
}


def fetch(directory: Path) -> list[Path]:
    if not list(directory.glob("pillow-*.tar.gz")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:", PILLOW]
        subprocess.run([*command, "--dest", directory], check=True)
    images = directory / "pillow"
    with tarfile.open(next(directory.glob("pillow-*.tar.gz"))) as archive:
        wanted = [one for one in archive if "/Tests/images/" in one.name and Path(one.name).suffix in KINDS]
        archive.extractall(images, wanted, filter="data")
    return sorted(path for path in images.rglob("*") if path.suffix in KINDS)


def written(directory: Path, picture: Path) -> list[Path]:
    made = []
    directory.mkdir(exist_ok=True)
    for width, height in ((97, 61), (160, 120), (33, 17)):
        source = directory / "source.ppm"
        Image.open(picture).convert("RGB").resize((width, height)).save(source)
        for sampling in SAMPLINGS:
            for name, coding in CODINGS.items():
                options = coding
                if isinstance(coding, str):
                    scans = directory / "scans.txt"
                    scans.write_text(coding.replace(";", ";\n"))
                    options = ["-scans", scans]
                file = directory / f"{width}-{sampling.replace(',', '_')}-{name}.jpg"
                command = ["cjpeg", "-quality", "90", "-sample", sampling, *options, "-outfile", file, source]
                if subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0:
                    made.append(file)
                else:
                    file.unlink(missing_ok=True)
    return made


def expected(path: Path) -> np.ndarray:
    picture = Image.open(path)
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        grey = Image.new("RGBA", picture.size, (128, 128, 128, 255))
        picture = Image.alpha_composite(grey, picture)
    elif picture.mode.startswith("I"):
        narrow = np.asarray(picture).astype(float) / 257
        picture = Image.fromarray(narrow.clip(0, 255).astype("uint8"))
    return np.asarray(picture.convert("RGB")).astype(int)


def fault(path: Path, said: str, decoded: Path) -> str | None:
    try:
        right = expected(path)
    except Exception:  # Pillow refuses in many ways; what it refuses is not compared.
        return None
    if said != "decoded":
        return said if said.startswith("400") else None
    pixels = np.asarray(Image.open(decoded)).astype(int)
    if pixels.shape != right.shape:
        return f"{pixels.shape} instead of {right.shape}"
    mean = np.abs(pixels - right).mean()
    return f"differs by {mean:.1f} in the mean" if mean > MEAN_MAX else None


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(sys.argv[1] if len(sys.argv) > 1 else scratch)
        directory.mkdir(exist_ok=True)
        pictures = fetch(directory)
        flower = next(path for path in pictures if path.name == "flower.jpg")
        pictures += written(directory / "written", flower)
        decoded = directory / "decoded"
        decoded.mkdir(exist_ok=True)
        command = ["cargo", "run", "--quiet", "--locked", "--example", "decode", decoded.resolve()]
        paths = "".join(f"{path.resolve()}\n" for path in pictures)
        lines = subprocess.run(command, cwd=ROOT, input=paths, stdout=subprocess.PIPE, text=True, check=True).stdout
        faults = 0
        for number, (path, said) in enumerate(zip(pictures, lines.splitlines(), strict=True)):
            found = fault(path, said, decoded / f"{number}.ppm")
            if found and path.name not in KNOWN:
                faults += 1
                print(f"{path.name}: {found}")
        read = lines.splitlines().count("decoded")
        print(f"{len(pictures)} pictures, {read} decoded, {faults} wrongly or refused as damaged without a known reason")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
