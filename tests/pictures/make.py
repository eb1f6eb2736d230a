"""Makes the pictures of this directory (Pillow; run it here). Each shows the same four fields, 24 x 16 pixels:
red and green above blue and yellow. `src/imaging/tests.rs` knows the colours."""

import io
import struct
import zlib

from PIL import Image, ImageChops

FIELDS = ((220, 40, 40), (40, 200, 60)), ((50, 60, 210), (230, 220, 60))


def fields() -> Image.Image:
    picture = Image.new("RGB", (24, 16))
    for row, colours in enumerate(FIELDS):
        for column, colour in enumerate(colours):
            picture.paste(colour, (column * 12, row * 8, column * 12 + 12, row * 8 + 8))
    return picture


def jpeg(picture: Image.Image, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=92, **options)
    return out.getvalue()


def write(name: str, content: bytes) -> None:
    with open(name, "wb") as file:
        file.write(content)


def adobe(content: bytes) -> int:
    """Where the Adobe segment's marker is."""
    return content.index(b"\xff\xee\x00\x0eAdobe")


def four_components() -> None:
    cmyk = fields().convert("CMYK")
    inverted = jpeg(cmyk)  # Pillow stores CMYK inverted, with Adobe's segment, as Photoshop does
    write("cmyk-adobe.jpg", inverted)
    plain = jpeg(ImageChops.invert(cmyk))
    at = adobe(plain)
    write("cmyk-plain.jpg", plain[:at] + plain[at + 16 :])
    # YCCK: the inverses of the stored inks as YCbCr, and the stored black. Pillow is made to store them as they are.
    *inks, black = ImageChops.invert(cmyk).split()
    luma = ImageChops.invert(Image.merge("RGB", inks)).convert("YCbCr")
    samples = Image.merge("CMYK", (*luma.split(), black))
    ycck = bytearray(jpeg(ImageChops.invert(samples)))
    ycck[adobe(bytes(ycck)) + 15] = 2
    write("ycck.jpg", bytes(ycck))


def interlaced_png() -> bytes:
    """Adam7, which Pillow reads and does not write."""
    picture = fields()
    raw = b""
    passes = (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
    for x, y, step_x, step_y in passes:
        for row in range(y, 16, step_y):
            raw += b"\0" + bytes(sample for column in range(x, 24, step_x) for sample in picture.getpixel((column, row)))

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 24, 16, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def main() -> None:
    picture = fields()
    cut_out = picture.convert("RGBA")
    cut_out.paste((0, 0, 0, 0), (12, 8, 24, 16))

    write("baseline-420.jpg", jpeg(picture, subsampling=2))
    write("restarts-422.jpg", jpeg(picture, subsampling=1, restart_marker_blocks=1))
    write("progressive.jpg", jpeg(picture, subsampling=2, progressive=True))
    write("adobe-rgb.jpg", jpeg(picture, keep_rgb=True))
    write("grey.jpg", jpeg(picture.convert("L")))
    four_components()
    write("interlaced.png", interlaced_png())
    picture.quantize(4).save("palette.png")
    cut_out.quantize(8).save("palette-cut-out.png")
    picture.save("lossy.webp", quality=95)
    picture.save("lossless.webp", lossless=True)
    cut_out.save("lossy-cut-out.webp", quality=95)
    cut_out.save("lossless-cut-out.webp", lossless=True)
    black = Image.new("RGB", picture.size)
    picture.save("animated.webp", save_all=True, append_images=[black], duration=100, lossless=True)
    picture.save("animated.gif", save_all=True, append_images=[black], duration=100)
    # One frame of the red field's size in the lower right of a canvas.
    red = io.BytesIO()
    picture.crop((0, 0, 12, 8)).quantize(2).save(red, "GIF")
    content = bytearray(red.getvalue())
    struct.pack_into("<HH", content, 6, 24, 16)
    struct.pack_into("<HH", content, content.rindex(b",", 0, len(content) - 12) + 1, 12, 8)
    write("offset.gif", bytes(content))


main()
