"""Decoding of any image file to a square, or to the reason why it is left out."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps
from prepared_images import GRAY, RED, RGB, WHITE, decoded, encoded, left_out, photo

from ddpm_bench.images.decoding import Square, read_square, to_square

# Geometry


@pytest.mark.parametrize("size", [(16, 16), (40, 16), (16, 41), (7, 5), (1, 300), (301, 200)])
@pytest.mark.parametrize("square", [RGB, GRAY])
def test_every_size_becomes_the_asked_square(tmp_path, size, square):
    pixels = decoded(tmp_path, photo(size=size), square)
    assert (pixels.shape, pixels.dtype) == ((16, 16, square.channels), np.uint8)


def test_the_centre_is_cropped(tmp_path):
    image = Image.new("RGB", (80, 16), "blue")
    image.paste(RED, (32, 0, 48, 16))
    assert (decoded(tmp_path, image) == RED).all()


def test_an_image_of_the_right_short_side_is_cropped_and_not_blurred(tmp_path):
    image = photo(size=(31, 16))
    assert np.array_equal(decoded(tmp_path, image), np.asarray(image)[:, 7:23])


def test_the_resize_is_antialiased(tmp_path):
    stripes = np.zeros((160, 160, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = decoded(tmp_path, Image.fromarray(stripes)).astype(int)
    assert abs(pixels - 128).max() < 8


def test_the_result_is_pillows_resize_of_the_short_side(tmp_path):
    image = photo(size=(120, 80))
    whole = image.resize((24, 16), Image.Resampling.LANCZOS)
    expected = np.asarray(whole).astype(int)[:, 4:20]
    assert abs(decoded(tmp_path, image) - expected)[:, 2:-2].max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
def test_exif_orientation_is_followed(tmp_path, orientation, suffix):
    image = photo(size=(48, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = tmp_path / f"stored.{suffix}"
    image.save(stored, exif=exif)
    with Image.open(stored) as opened:
        expected = to_square(ImageOps.exif_transpose(opened.convert("RGB")), RGB)
    if orientation in (2, 3):  # that Pillow itself was not asked about nothing
        assert not np.array_equal(expected, to_square(image, RGB))
    assert np.array_equal(read_square(stored, RGB)[1], expected)


def test_broken_exif_leaves_the_image_in(tmp_path):
    content = encoded(photo(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage")
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    assert read_square(path, RGB)[0].left_out == ""


# Modes


@pytest.mark.parametrize("square", [RGB, GRAY])
@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *[(mode, "png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[(mode, "tif") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F")],
        *[(mode, "tif") for mode in ("CMYK", "YCbCr", "LAB")],
        *[(mode, "jpg") for mode in ("L", "RGB", "CMYK")],
        *[(mode, "webp") for mode in ("RGB", "RGBA")],
        *[
            ("P", "gif"),
            ("L", "bmp"),
            ("RGB", "jp2"),
            ("RGB", "ppm"),
            ("RGBA", "tga"),
            ("RGB", "avif"),
        ],
    ],
)
def test_every_mode_gives_the_picture(tmp_path, mode, suffix, square):
    gray = np.add.outer(np.arange(16) * 8, np.arange(16) * 8).clip(0, 255).astype(np.uint8)
    plain = Image.fromarray(gray)
    if mode in ("I;16", "I"):
        image = Image.fromarray(gray.astype(np.uint16 if mode == "I;16" else np.int32) * 257)
    elif mode == "F":
        image = Image.fromarray(gray.astype(np.float32) / 255)
    elif mode == "LAB":
        neutral = Image.new("L", (16, 16), 128)
        image = Image.merge("LAB", (plain, neutral, neutral))
    elif mode == "P":
        image = plain.convert("RGB").quantize(256)
    else:
        image = (plain if mode in ("1", "L", "LA") else plain.convert("RGB")).convert(mode)
    ranges = {"I": (0, 65535), "F": (0, 1)}
    square = replace(square, value_range=ranges.get(mode))
    pixels = decoded(tmp_path, image, square, suffix).astype(int)
    tolerance = {"1": 255, "LAB": 40}.get(mode, 6)
    assert abs(pixels - gray[..., None]).max() <= tolerance
    assert abs(pixels.mean() - gray.mean()) < 20


@pytest.mark.parametrize("mode", ["LA", "PA", "La", "RGBA", "RGBa", "P", "L", "RGB", "1"])
def test_what_is_transparent_becomes_white(mode):
    image = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
    image.paste((0, 0, 0, 255), (0, 0, 8, 16))
    black, clear = (slice(None), slice(0, 8)), (slice(None), slice(8, None))
    if mode in ("P", "L", "RGB", "1"):
        image = Image.new(mode, (16, 16), 0)
        image.paste(1 if mode in ("P", "1") else WHITE if mode == "RGB" else 77, (8, 0, 16, 16))
        if mode == "P":
            image.putpalette([0, 0, 0, 200, 0, 0])
        image.info["transparency"] = {"P": 1, "L": 77, "RGB": WHITE, "1": 255}[mode]
    elif mode in ("La", "RGBa"):
        image = image.convert(mode[:-1] + "A").convert(mode)
    elif mode != "RGBA":
        image = image.convert("LA").convert(mode)
    for square in (RGB, GRAY):
        pixels = to_square(image, square)
        assert pixels[clear].min() == 255
        assert pixels[black].max() == 0


def test_half_transparent_red_becomes_pink(tmp_path):
    pixels = decoded(tmp_path, Image.new("RGBA", (20, 20), (255, 0, 0, 128)))
    assert pixels[0, 0].tolist() == [255, 127, 127]


def test_transparency_by_palette_bytes_survives_a_file(tmp_path):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    assert (decoded(tmp_path, image, transparency=b"\xff\x00") == 255).all()


def test_big_endian_sixteen_bits_are_read(tmp_path):
    ramp = np.linspace(0, 65535, 256).round().astype(">u2").reshape(16, 16)
    path = tmp_path / "image.pgm"
    path.write_bytes(b"P5 16 16 65535\n" + ramp.tobytes())
    pixels = read_square(path, GRAY)[1]
    assert pixels.ravel().tolist() == list(range(256))


# Files that are left out


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_images_are_left_out(tmp_path, form):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), form)
    assert left_out(tmp_path, content[: len(content) * 2 // 3]) in (
        "broken or truncated image",
        "not an image of a known format",
    )


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
def test_a_file_that_begins_as_an_image_is_broken_and_no_other_file(tmp_path, form):
    assert left_out(tmp_path, encoded(photo(), form)[:60]) == "broken or truncated image"


def test_a_png_with_a_wrong_byte_is_left_out(tmp_path):
    content = bytearray(encoded(photo()))
    content[len(content) // 2] ^= 0xFF
    assert left_out(tmp_path, bytes(content)) == "broken or truncated image"


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animated_images_are_left_out(tmp_path, form):
    frames = [photo(seed) for seed in range(3)]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert left_out(tmp_path, content) == "animated: more than one frame"


def test_a_photograph_with_previews_is_no_animation(tmp_path):
    pixels = decoded(
        tmp_path, photo(0), suffix="mpo", save_all=True, append_images=[photo(1)], quality=95
    )
    assert abs(pixels - to_square(photo(0), RGB).astype(int)).mean() < 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"this is a text", "not an image of a known format"),
        (bytes(5000), "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known format"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "Git LFS pointer, not the file itself",
        ),
    ],
)
def test_other_files_are_left_out(tmp_path, content, reason):
    assert left_out(tmp_path, content) == reason


def test_absurdly_large_images_are_left_out_before_they_are_decoded(tmp_path):
    header = struct.pack(">IIBBBBB", 30_000, 20_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", b"nothing that could be decoded")):
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    assert left_out(tmp_path, content) == "larger than 100 megapixels"


def test_the_limit_is_the_users(tmp_path):
    content = encoded(photo(size=(100, 100)))
    assert left_out(tmp_path, content, Square(16, 3, 0.0099)) == "larger than 0.0099 megapixels"
    (tmp_path / "image.png").write_bytes(content)
    assert read_square(tmp_path / "image.png", Square(16, 3, 0.01))[0].left_out == ""


def test_a_limit_above_pillows_own_is_followed(tmp_path):
    content = encoded(Image.new("1", (12_000, 9_000)))  # 108 megapixels: Pillow warns at 89
    (tmp_path / "image.png").write_bytes(content)
    assert read_square(tmp_path / "image.png", Square(16, 1, 200))[0].left_out == ""


def test_images_with_values_that_are_no_numbers_are_left_out(tmp_path):
    content = encoded(Image.fromarray(np.full((16, 16), np.nan, np.float32)), "TIFF")
    assert left_out(tmp_path, content) == "has values that are no numbers"
