"""Preparing: decoding of any image, the split, the table of files, memory, and real photographs."""

import csv
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image, ImageOps

from ddpm_bench import files
from ddpm_bench.config.dataset import FetchStage, PrepareStage
from ddpm_bench.data import folder_labels, prepare
from ddpm_bench.decoders import usable_cpus
from ddpm_bench.decoding import Square, read_square, to_square
from ddpm_bench.program import UserError
from ddpm_bench.sources import fetch
from ddpm_bench.splits import held_out

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
RGB = Square(image_size=16, channels=3)
GRAY = Square(image_size=16, channels=1)
RED, WHITE = (255, 0, 0), (255, 255, 255)


def photo(seed=0, size=(48, 32)):
    """A smooth colourful image: noise of a few pixels, enlarged."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def folder_of(path, **images):
    """A folder of PNG files; keyword `cats__1=image` becomes cats/1.png."""
    for name, image in images.items():
        target = path / f"{name.replace('__', '/')}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target)
    return path


def fetch_folder(folder, tmp_path, **keys):
    source = {"kind": "folder", "path": str(folder)} | keys
    stage = FetchStage.model_validate_json(json.dumps({"version": 1, "source": source}))
    files.write_json(tmp_path / "raw.json", fetch(stage.source, tmp_path / "raw"))


def prepare_folder(folder, tmp_path, cpus=1, **keys):
    fetch_folder(folder, tmp_path)
    return prepare_fetched(tmp_path, cpus, **keys)


def prepare_fetched(tmp_path, cpus=1, **keys):
    stage = PrepareStage(version=1, **({"kind": "folder", "image_size": 16} | keys))
    return prepare(stage, cpus, tmp_path / "raw.json", tmp_path / "out")


def table(tmp_path):
    with (tmp_path / "out" / "images.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def arrays(tmp_path):
    return tuple(
        np.load(tmp_path / "out" / f"{split}.npy", mmap_mode="r") for split in ("train", "eval")
    )


def decoded(tmp_path, image, square=RGB, suffix="png", **options):
    path = tmp_path / f"image.{suffix}"
    image.save(path, **options)
    outcome, pixels = read_square(path, square)
    assert outcome.left_out == ""
    return pixels


def left_out(tmp_path, content, square=RGB):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    outcome, pixels = read_square(path, square)
    assert pixels is None
    return outcome.left_out


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


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
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
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


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 32768, 65535]], np.uint16), [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.int32), [0, 128, 255]),
        (np.array([[-1000, 0, 1000]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 128, 255]], np.float32), [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.float32), [0, 128, 255]),
        (np.array([[-3, -2, -1]], np.float32), [0, 128, 255]),
    ],
)
def test_deep_images_are_scaled_to_bytes(values, expected):
    image = Image.fromarray(np.repeat(np.repeat(values, 48, axis=0), 16, axis=1))
    levels = to_square(image, Square(48, 1))[24, [8, 24, 40], 0]
    assert abs(levels.astype(int) - expected).max() <= 1


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


def test_every_input_file_has_one_row(tmp_path):
    folder = folder_of(tmp_path / "data", cats__1=photo(1), dogs__2=photo(2), dogs__0=photo(0))
    (folder / "broken.jpg").write_bytes(encoded(photo(3), "JPEG")[:-99])
    (folder / "empty.png").touch()
    (folder / "notes, with a comma.txt").write_text("text")
    (folder / "nowhere.png").symlink_to(tmp_path / "gone")
    os.mkfifo(folder / "pipe.png")
    summary = prepare_folder(folder, tmp_path)
    rows = table(tmp_path)
    assert [(row["source"], row["split"], row["left_out"]) for row in rows] == [
        ("broken.jpg", "", "broken or truncated image"),
        ("cats/1.png", "train", ""),
        ("dogs/0.png", "train", ""),
        ("dogs/2.png", "train", ""),
        ("empty.png", "", "empty file"),
        ("notes, with a comma.txt", "", "not an image of a known format"),
        ("nowhere.png", "", "cannot be read: no regular file"),
        ("pipe.png", "", "cannot be read: no regular file"),
    ]
    assert (summary["files"], summary["train"], summary["eval"]) == (8, 3, 0)
    assert sum(summary["left_out"].values()) == 5
    broken = rows[0]
    assert (broken["width"], broken["height"], broken["mode"]) == ("48", "32", "RGB")
    assert broken["sha256"] == files.sha256(folder / "broken.jpg")


def test_a_name_that_is_no_utf8_has_a_row(tmp_path):
    folder = folder_of(tmp_path / "data", a=photo())
    shutil.copy(folder / "a.png", os.fsencode(folder) + b"/\xff.png")
    prepare_folder(folder, tmp_path)
    assert [row["source"] for row in table(tmp_path)] == ["a.png", "\\xff.png"]


def test_without_a_usable_image_the_commonest_reasons_are_told(tmp_path):
    (tmp_path / "data").mkdir()
    for number in range(3):
        (tmp_path / "data" / f"{number}.txt").write_text("text")
    (tmp_path / "data" / "empty").touch()
    with pytest.raises(
        UserError,
        match=r"none of the 4 .*: not an image of a known format \(3\), empty file \(1\); check",
    ):
        prepare_folder(tmp_path / "data", tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


# Split and labels


def test_byte_identical_images_are_never_parted():
    digests = [f"{number % 20}" for number in range(100)]
    for seed in range(20):
        held = held_out(digests, 0.33, seed)
        assert sum(digest in held for digest in digests) == 35  # seven groups of five


def test_the_split_has_the_asked_share():
    digests = [f"{number}" for number in range(1000)]
    assert [len(held_out(digests, share, 0)) for share in (0, 0.1, 0.25, 0.9995)] == [
        0,
        100,
        250,
        1000,
    ]


def test_the_split_depends_on_seed_and_bytes_alone():
    digests = [f"{number}" for number in range(100)]
    held = held_out(digests, 0.2, 0)
    assert held_out(digests[::-1], 0.2, 0) == held
    assert held_out(digests, 0.2, 1) != held


def test_duplicates_under_other_names_go_to_one_split(tmp_path):
    folder = folder_of(tmp_path / "data", **{f"a__{seed}": photo(seed) for seed in range(20)})
    for seed in range(10):
        (folder / "b").mkdir(exist_ok=True)
        shutil.copy(folder / "a" / f"{seed}.png", folder / "b" / f"copy{seed}.png")
    summary = prepare_folder(folder, tmp_path, eval_fraction=0.5)
    splits = {}
    for row in table(tmp_path):
        splits.setdefault(row["sha256"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert (summary["distinct"], summary["files"]) == (20, 30)
    assert summary["eval"] in (15, 16)


def test_rows_tell_where_each_image_lies(tmp_path):
    folder = folder_of(
        tmp_path / "data", **{f"c{seed % 3}__{seed}": photo(seed) for seed in range(30)}
    )
    prepare_folder(folder, tmp_path, eval_fraction=0.3)
    train, held = arrays(tmp_path)
    assert (len(train), len(held)) == (21, 9)
    for row in table(tmp_path):
        image = (train if row["split"] == "train" else held)[int(row["position"])]
        assert np.array_equal(image, read_square(folder / row["source"], RGB)[1])


def test_images_lie_in_the_order_of_their_sources(tmp_path):
    folder = folder_of(tmp_path / "data", **{f"{seed:02d}": photo(seed) for seed in range(40)})
    prepare_folder(folder, tmp_path, eval_fraction=0.5)
    for split in ("train", "eval"):
        rows = [row for row in table(tmp_path) if row["split"] == split]
        assert [int(row["position"]) for row in rows] == list(range(20))


def test_nothing_left_to_train_on_is_an_error(tmp_path):
    folder = folder_of(tmp_path / "data", a=photo(), b=photo(), c=photo())
    with pytest.raises(UserError, match="all 3 usable images are held out; lower eval_fraction"):
        prepare_folder(folder, tmp_path, eval_fraction=0.4)


@pytest.mark.parametrize(
    ("sources", "labels"),
    [
        (["cat/images/1.png", "dog/images/2.png"], ["cat", "dog"]),
        (["all/train/cat/1.png", "all/train/dog/2.png"], ["cat", "dog"]),
        (["1.png", "2.png"], ["", ""]),
        (["only/1.png", "only/2.png"], ["", ""]),
        (["1.png", "cat/2.png"], ["", "cat"]),
        (["a/b/1.png", "a/2.png"], ["b", ""]),
        (["cat/1.png", "cathedral/1.png"], ["cat", "cathedral"]),
        ([], []),
    ],
)
def test_labels_are_the_first_folders_that_differ(sources, labels):
    assert folder_labels(sources) == labels


def test_labels_heed_only_images_that_are_used(tmp_path):
    folder = folder_of(tmp_path / "data", set__cat__1=photo(1), set__dog__2=photo(2))
    (folder / "readme.txt").write_text("text")
    summary = prepare_folder(folder, tmp_path)
    assert summary["labels"] == {"cat": 1, "dog": 1}


# The whole


def test_the_outputs_are_the_same_for_any_number_of_processes(tmp_path):
    folder = folder_of(tmp_path / "data", **{f"{seed}": photo(seed) for seed in range(50)})
    seen = []
    for cpus in (1, 2):
        prepare_folder(folder, tmp_path, cpus, eval_fraction=0.2)
        seen.append({path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()})
    assert seen[0] == seen[1]
    assert set(seen[0]) == {"train.npy", "eval.npy", "images.csv", "summary.json", "preview.png"}


def test_the_summary_has_the_checksums_of_the_arrays(tmp_path):
    folder = folder_of(tmp_path / "data", a=photo(0).convert("L"), b=photo(1))
    prepare_folder(folder, tmp_path, channels=1)
    summary = files.read_json(tmp_path / "out" / "summary.json")
    for split in ("train", "eval"):
        assert summary["sha256"][split] == files.sha256(tmp_path / "out" / f"{split}.npy")
    assert (summary["grayscale_to_rgb"], summary["rgb_to_grayscale"]) == (0, 1)


def test_an_empty_split_can_be_mapped(tmp_path):
    prepare_folder(folder_of(tmp_path / "data", a=photo()), tmp_path)
    train, held = arrays(tmp_path)
    assert (train.shape, held.shape) == ((1, 16, 16, 3), (0, 16, 16, 3))
    assert train.dtype == held.dtype == np.uint8


def test_the_preview_shows_the_training_split(tmp_path):
    folder = folder_of(tmp_path / "data", **{f"{seed}": photo(seed) for seed in range(9)})
    prepare_folder(folder, tmp_path)
    with Image.open(tmp_path / "out" / "preview.png") as preview:
        assert preview.size == (3 * (48 + 2) + 2, 3 * (48 + 2) + 2)


def test_files_that_changed_since_they_were_fetched_are_refused(tmp_path):
    folder = folder_of(tmp_path / "data", a=photo(0), b=photo(1))
    fetch_folder(folder, tmp_path)
    photo(2).save(folder / "b.png")
    with pytest.raises(UserError, match="its files are not the 2 that were fetched"):
        prepare_fetched(tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_decoded(tmp_path):
    folder = folder_of(tmp_path / "data", a=photo())
    fetch_folder(folder, tmp_path)
    with pytest.raises(UserError, match=r"1 images of 10000000 pixels need 600000.0 GB"):
        prepare_fetched(tmp_path, image_size=10_000_000)


def test_no_more_processes_than_cores_are_started():
    cores = len(os.sched_getaffinity(0))
    assert [usable_cpus(1), usable_cpus(10_000)] == [1, cores]


def program(tmp_path, output="out", **keys):
    what = {"version": 1, "kind": "folder", "image_size": 16} | keys
    return [
        *[
            sys.executable,
            SCRIPTS / "prepare.py",
            "--what",
            json.dumps(what),
            "--how",
            '{"cpus": 2}',
        ],
        *["--fetched", tmp_path / "raw.json", "--output", tmp_path / output],
    ]


def decoding_children(process):
    found = psutil.Process(process.pid).children()
    return [child for child in found if any("spawn_main" in part for part in child.cmdline())]


@pytest.fixture
def large_images(tmp_path):
    """A fetched folder that takes a process several seconds to decode."""
    (tmp_path / "data").mkdir()
    photo(size=(3000, 3000)).save(tmp_path / "data" / "000.jpg")
    for number in range(1, 150):
        os.link(tmp_path / "data" / "000.jpg", tmp_path / "data" / f"{number:03d}.jpg")
    fetch_folder(tmp_path / "data", tmp_path)
    return tmp_path


def start_and_wait_for_children(tmp_path):
    process = subprocess.Popen(program(tmp_path), stderr=subprocess.PIPE, text=True)
    while not (children := decoding_children(process)):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    return process, children


def test_a_killed_decoding_process_is_an_error_and_no_hang(large_images):
    process, children = start_and_wait_for_children(large_images)
    children[0].send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "error: a process that decodes images was killed at " in said
    assert list((large_images / "out").iterdir()) == []


def test_decoding_processes_end_with_a_program_that_is_killed(large_images):
    process, children = start_and_wait_for_children(large_images)
    process.kill()
    process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / "out").mkdir()
    for name in (".rows.partial", ".train.77.partial.npy"):
        (tmp_path / "out" / name).touch()
    prepare_folder(folder_of(tmp_path / "data", a=photo()), tmp_path)
    assert not list((tmp_path / "out").glob(".*"))


def peak_megabytes(command):
    """The largest memory that any process of the program had at any time."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    (tmp_path / "data").mkdir()
    photo(size=(64, 64)).save(tmp_path / "data" / "000.png")
    peaks = []
    for count in (80, 320):  # 16 and 63 MB of pixels
        for number in range(1, count):
            path = tmp_path / "data" / f"{number:03d}.png"
            if not path.exists():
                os.link(tmp_path / "data" / "000.png", path)
        fetch_folder(tmp_path / "data", tmp_path)
        peaks.append(peak_megabytes(program(tmp_path, f"out{count}", image_size=256)))
    assert peaks[1] < peaks[0] + 16, peaks


# Real photographs


def sysu_keys(folder):
    return {"kind": "folder", "path": str(folder), "include": ["*/images/*.jpg"]}


@pytest.fixture(scope="session")
def prepared_sysu(sysu_shape, tmp_path_factory):
    """SYSU-Shape at 64x64 by both programs, through `folder`: where it lies, and the seconds."""
    place = tmp_path_factory.mktemp("sysu")
    seconds = fetch_and_prepare(place, sysu_keys(sysu_shape))
    return place, seconds


def fetch_and_prepare(place, source):
    what = json.dumps({"version": 1, "source": source})
    fetching = [sys.executable, SCRIPTS / "fetch.py", "--what", what, "--folder", place / "raw"]
    started = time.monotonic()
    subprocess.run([*fetching, "--output", place / "raw.json"], check=True, capture_output=True)
    keys = {"kind": source["kind"], "include": source["include"], "image_size": 64}
    command = program(place, eval_fraction=0.2, channels=3, **keys)
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - started


def test_photographs_are_all_accounted_for(prepared_sysu):
    place, _ = prepared_sysu
    summary = files.read_json(place / "out" / "summary.json")
    assert (summary["files"], summary["distinct"], summary["left_out"]) == (1541, 1540, {})
    assert (summary["train"] + summary["eval"], summary["grayscale_to_rgb"]) == (1541, 7)
    assert summary["eval"] in (308, 309)
    assert summary["labels"] == {
        **{"airplane": 472, "bicycle": 224, "boat": 196, "car": 302, "motorbike": 347}
    }


def test_the_table_of_photographs_agrees_with_the_arrays(prepared_sysu):
    place, _ = prepared_sysu
    rows = table(place)
    counts = Counter(row["split"] for row in rows)
    train, held = arrays(place)
    assert (len(train), len(held), len(rows)) == (counts["train"], counts["eval"], 1541)
    assert train.shape[1:] == (64, 64, 3)
    assert [row["source"] for row in rows] == sorted(row["source"] for row in rows)
    assert len({(row["width"], row["height"]) for row in rows}) == 622
    assert sum(row["mode"] == "L" for row in rows) == 7
    twins = [row for row in rows if Counter(r["sha256"] for r in rows)[row["sha256"]] == 2]
    assert len(twins) == 2 and twins[0]["split"] == twins[1]["split"]


def test_photographs_look_like_themselves(prepared_sysu, sysu_shape):
    place, _ = prepared_sysu
    train, _ = arrays(place)
    rows = [row for row in table(place) if row["split"] == "train"][::50]
    for row in rows:
        with Image.open(sysu_shape / row["source"]) as image:
            expected = ImageOps.fit(image.convert("RGB"), (64, 64), Image.Resampling.LANCZOS)
        difference = train[int(row["position"])].astype(float) - np.asarray(expected)
        assert np.sqrt((difference**2).mean()) < 6


def test_photographs_are_prepared_in_fifteen_seconds(prepared_sysu):
    _, seconds = prepared_sysu
    assert seconds < 15


def test_photographs_from_a_repository_are_the_same(prepared_sysu, sysu_shape, tmp_path):
    place, _ = prepared_sysu
    store = tmp_path / "repository.git"
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    git = ("git", *identity, f"--git-dir={store}", f"--work-tree={sysu_shape}")
    for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "images")):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    source = sysu_keys(sysu_shape) | {"kind": "git", "url": store.as_uri()}
    del source["path"]
    fetch_and_prepare(tmp_path, source | {"commit": head.stdout.strip()})
    markers = [files.read_json(folder / "raw.json") for folder in (place, tmp_path)]
    assert [marker["files"] for marker in markers] == [1541, 1541]
    assert markers[0]["sha256"] == markers[1]["sha256"]
    for name in ("train.npy", "eval.npy", "images.csv", "summary.json", "preview.png"):
        assert files.sha256(tmp_path / "out" / name) == files.sha256(place / "out" / name)
