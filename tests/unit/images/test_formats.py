"""Files that Pillow by itself reads wrongly or not at all: what each kind becomes."""

import io
import math
import struct
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
from image_bytes import NEW_SUBFILE_TYPE, SUB_IFDS, SUBFILE_TYPE, page, png, tiff
from PIL import Image
from prepared_images import GRAY, RGB, encoded, left_out, photo

from ddpm_bench.images import opening
from ddpm_bench.images.decoding import read_square, to_square
from ddpm_bench.images.gray_levels import common_range
from ddpm_bench.images.opening import formats, heif

RAMP = np.arange(256).reshape(16, 16)


def read(tmp_path, content, square=RGB):
    """The pixels of a file with this content."""
    path = tmp_path / "image"
    path.write_bytes(content)
    outcome, pixels = read_square(path, square)
    assert (outcome.left_out, outcome.extent) == ("", None)
    return pixels


# Gray values of TIFF


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize(
    ("kind", "bits", "black", "white"),
    [
        ("u1", None, None, 255),
        ("i1", None, -128, 127),
        ("u2", 12, None, 4095),
        ("u2", None, None, 65535),
        ("i2", None, -32768, 32767),
        ("u4", None, 0, 2**32 - 1),
        ("i4", None, -(2**31), 2**31 - 1),
        ("i4", None, 0, 255),
        ("f2", None, 0, 1),
        ("f4", None, -1, 1),
        ("f8", None, 0, 255),
    ],
)
def test_gray_tiffs_of_all_numbers_give_their_picture(
    tmp_path, order, deflate, white_is_zero, kind, bits, black, white
):
    low = black or 0
    values = (low + RAMP * ((white - low) / 255)).round(6 if kind[0] == "f" else 0)
    stored = page(values.astype(kind), order, bits, photometric=1 - white_is_zero, deflate=deflate)
    square = GRAY if black is None else replace(GRAY, value_range=(black, white))
    pixels = read(tmp_path, tiff(stored, order=order), square)[..., 0]
    assert np.array_equal(pixels, 255 - RAMP if white_is_zero else RAMP)


def test_twelve_bits_in_files_of_sixteen_are_spread_where_the_range_is_given(tmp_path):
    content = tiff(page((RAMP * 16).astype("u2")))
    assert read(tmp_path, content, GRAY).max() == 16
    assert read(tmp_path, content, replace(GRAY, value_range=(0, 255 * 16))).max() == 255


def test_numbers_outside_the_range_are_black_and_white(tmp_path):
    content = tiff(page(RAMP.astype("f4")))
    pixels = read(tmp_path, content, replace(GRAY, value_range=(100, 101)))[..., 0]
    assert np.array_equal(pixels, np.where(RAMP > 100, 255, 0))


def test_without_a_range_an_image_of_floats_waits_for_that_of_its_dataset(tmp_path):
    (tmp_path / "image.tif").write_bytes(tiff(page(RAMP.astype("f4") - 7)))
    outcome, pixels = read_square(tmp_path / "image.tif", GRAY)
    assert pixels is None
    assert (outcome.left_out, outcome.extent) == ("", (-7, 248))


@pytest.mark.parametrize(
    ("extents", "expected"),
    [
        ([(0, 0.01), (0.2, 1)], (0, 1)),
        ([(0, 0.01), (0, 1.5)], (0, 255)),
        ([(0, 1), (3, 255.5)], (0, 511)),
        ([(0, 1), (3, 4000)], (0, 4095)),
        ([(0, 65535)], (0, 65535)),
        ([(-1, 1), (-5, 0)], (-5, 1)),
        ([(2, 70_000), (5, 5)], (2, 70_000)),
        ([(-3, -3)], (-3, -2)),
        ([(-1e20, -1e20)], (-1e20, math.nextafter(-1e20, 0))),
    ],
)
def test_images_of_a_dataset_have_one_range(extents, expected):
    assert common_range(extents) == expected


@pytest.mark.parametrize(
    ("values", "bits", "said"),
    [
        (RAMP.astype("u2"), 10, "TIFF of 1 x 10 bits"),
        (RAMP.astype("u2"), 14, "TIFF of 1 x 14 bits"),
        (RAMP.astype("u8"), None, "TIFF of 1 x 64 bits"),
        (np.zeros((16, 16, 3), "f4"), None, "TIFF of 3 x 32 bits, float"),
    ],
)
def test_a_tiff_that_pillow_cannot_read_is_left_out_with_its_layout(tmp_path, values, bits, said):
    assert left_out(tmp_path, tiff(page(values, bits=bits))).startswith(said + ", which Pillow")


# Pages


def pages(*kinds):
    """A TIFF of gray pages: (side, level, tags) each."""
    made = []
    for side, level, tags in kinds:
        data, entries = page(np.full((side, side), level, np.uint8))
        made.append((data, entries | {tag: [value] for tag, value in tags.items()}))
    return tiff(*made)


@pytest.mark.parametrize(
    "small",
    [{NEW_SUBFILE_TYPE: 1}, {NEW_SUBFILE_TYPE: 4}, {NEW_SUBFILE_TYPE: 5}, {SUBFILE_TYPE: 2}],
)
@pytest.mark.parametrize("first", [True, False])
def test_thumbnails_and_masks_are_no_frames_of_a_tiff(tmp_path, small, first):
    kinds = [(16, 200, {}), (4, 10, small), (8, 20, small)]
    assert (read(tmp_path, pages(*(kinds if first else reversed(kinds)))) == 200).all()


def test_two_full_pages_are_left_out(tmp_path):
    kinds = [(4, 10, {NEW_SUBFILE_TYPE: 1}), (16, 200, {}), (16, 201, {})]
    assert left_out(tmp_path, pages(*kinds)) == "animated: more than one frame"


def test_a_thumbnail_is_not_taken_for_the_image_in_a_sub_ifd(tmp_path):
    reason = left_out(tmp_path, pages((4, 10, {NEW_SUBFILE_TYPE: 1, SUB_IFDS: 8})))
    assert reason.startswith("only its thumbnail is readable")
    assert (read(tmp_path, pages((16, 90, {NEW_SUBFILE_TYPE: 1}))) == 90).all()


# PNG


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_gray_of_a_png_is_white(tmp_path, bits):
    values = np.zeros((16, 16), np.uint32)
    values[:, 8:] = 1
    packed = np.unpackbits(values.astype(">u4").view(np.uint8).reshape(16, 16, 4), axis=2)
    rows = [np.packbits(row[:, -bits:]).tobytes() for row in packed]
    clear = (b"tRNS", struct.pack(">H", 1))
    pixels = read(tmp_path, png(16, 16, bits, 0, rows, clear))
    assert (pixels[:, :8] == 0).all()
    assert (pixels[:, 8:] == 255).all()


@pytest.mark.parametrize(("bits", "form"), [(8, ">3B"), (16, ">3H")])
def test_the_transparent_colour_of_a_png_is_white(tmp_path, bits, form):
    clear, kept = [value << (bits - 8) for value in (18, 156, 1)], [0, 0, 0]
    rows = [struct.pack(form, *clear) * 8 + struct.pack(form, *kept) * 8] * 16
    pixels = read(tmp_path, png(16, 16, bits, 2, rows, (b"tRNS", struct.pack(">3H", *clear))))
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, 8:] == 0).all()


def metadata(kind):
    """A chunk of metadata of 2 MB."""
    text = bytes(2_000_000)
    return {
        "zTXt": (b"zTXt", b"Comment\0\0" + zlib.compress(text)),
        "iTXt": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text)),
        "iCCP": (b"iCCP", b"profile\0\0" + zlib.compress(text)),
        "iCCP of an unknown compression": (b"iCCP", b"profile\0\7" + text),
    }[kind]


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP", "iCCP of an unknown compression"])
@pytest.mark.parametrize("after", [False, True])
def test_large_metadata_is_no_reason_to_leave_out_a_png(tmp_path, kind, after):
    rows = [bytes([90]) * 16] * 16
    orientation = Image.Exif()
    orientation[0x0112] = 3
    exif = (b"eXIf", orientation.tobytes()[6:])
    content = png(16, 16, 8, 0, [bytes([200]) * 16, *rows[1:]], exif, metadata(kind))
    if after:
        content = png(16, 16, 8, 0, [bytes([200]) * 16, *rows[1:]], exif, after=[metadata(kind)])
    assert read(tmp_path, content)[:, 0, 0].tolist() == [90] * 15 + [200]


# JPEG


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("end", [b"", b"\xff", bytes(100)])
def test_a_jpeg_that_lacks_its_end_marker_is_read(tmp_path, progressive, subsampling, end):
    content = encoded(photo(), "JPEG", progressive=progressive, subsampling=subsampling)
    expected = to_square(Image.open(io.BytesIO(content)), RGB)
    assert np.array_equal(read(tmp_path, content.removesuffix(b"\xff\xd9") + end), expected)


def test_zeros_and_other_data_behind_a_jpeg_are_no_part_of_it(tmp_path):
    content = encoded(photo(), "JPEG")
    expected = to_square(Image.open(io.BytesIO(content)), RGB)
    for more in (bytes(3000), b"\xff\xc0 of another file" + bytes(3000), b"motion"):
        assert np.array_equal(read(tmp_path, content + more), expected)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("end", [b"", bytes(5000)])
@pytest.mark.parametrize("restart", [0, 2])
@pytest.mark.parametrize("missing", [3, 10, 100, 800])
def test_a_jpeg_that_lacks_data_is_left_out(tmp_path, progressive, end, restart, missing):
    options = {"progressive": progressive, "restart_marker_blocks": restart, "quality": 90}
    content = encoded(photo(size=(96, 80)), "JPEG", **options)
    assert left_out(tmp_path, content[: -2 - missing] + end) == "broken or truncated image"


def test_a_progressive_jpeg_that_lacks_whole_scans_is_left_out(tmp_path):
    content = encoded(photo(), "JPEG", progressive=True)
    scans = [at for at in range(len(content)) if content[at : at + 2] == b"\xff\xda"]
    tables = content.rindex(b"\xff\xc4", 0, scans[-1])  # of the last scan
    for end in (scans[-1], tables):
        assert left_out(tmp_path, content[:end]) == "broken or truncated image"


# HEIF and AVIF


def test_without_pillow_heif_the_reason_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heif.cache_clear()
    content = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(40)
    assert "install pillow-heif" in left_out(tmp_path, content)
    heif.cache_clear()


def test_without_a_decoder_of_avif_the_reason_names_one(tmp_path, monkeypatch):
    without = tuple(name for name in formats() if name != "AVIF")
    monkeypatch.setattr(opening, "formats", lambda: without)
    assert "Pillow 11.3" in left_out(tmp_path, encoded(photo(), "AVIF"))


def heic(image, **options):
    """A HEIC file of an image; without pillow-heif, its test is skipped."""
    pytest.importorskip("pillow_heif")
    assert heif() == ("HEIF",)
    return encoded(image, "HEIF", quality=100, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_photograph_is_turned_once(tmp_path, orientation):
    image = Image.new("RGB", (64, 64))
    image.paste("white", (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = heic(image, exif=exif.tobytes())  # writes a turn of the container, too
    stored = encoded(image, "PNG", exif=exif)
    difference = read(tmp_path, content).astype(int) - read(tmp_path, stored)
    assert abs(difference).mean() < 5


@pytest.mark.parametrize("standard", [True, False])
def test_a_heic_that_turns_by_exif_alone_is_turned_unless_the_standard_forbids_it(
    tmp_path, standard
):
    image = Image.new("RGB", (64, 64))
    image.paste("white", (0, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 3
    content = heic(image, exif=exif)  # as an object: pillow-heif writes no turn of the container
    assert b"irot" not in content
    if not standard:
        content = content.replace(b"miaf", b"heic", 1)
    top = read(tmp_path, content)[:7].mean()
    assert top > 250 if standard else top < 5


def test_a_broken_heic_is_left_out(tmp_path):
    content = heic(photo())
    assert left_out(tmp_path, content[: len(content) // 2]) == "broken or truncated image"


def test_deep_and_transparent_heic_images_are_read(tmp_path):
    deep = heic(Image.fromarray(np.full((64, 64), 40_000, np.uint16)))
    assert abs(read(tmp_path, deep, GRAY).astype(int) - 156).max() <= 1
    clear = heic(Image.new("RGBA", (64, 64), (0, 0, 0, 0)))
    assert read(tmp_path, clear).min() == 255
