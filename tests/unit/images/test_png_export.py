"""Export of images as PNG files for other programs."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from places import COMMANDS

from ddpm_bench.errors import UserError
from ddpm_bench.images import png_export


def write_set(folder, pieces, channels=3):
    """Write a set of samples in files of these numbers of images; return all images."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    images = noise.integers(0, 256, (sum(pieces), 5, 7, channels), np.uint8)
    here = 0
    for count in pieces:
        name = f"images-{here:06}-{here + count - 1:06}.npy"
        np.save(folder / name, images[here : here + count])
        here += count
    return images


def export(paths, folder, count=None):
    arrays, count = png_export.images_to_export(paths, count)
    list(png_export.export_images(arrays, folder, count))


@pytest.mark.parametrize("channels", [1, 3])
def test_exported_images_read_back_byte_for_byte(tmp_path, channels):
    images = write_set(tmp_path / "set", [3, 2], channels)
    command = [sys.executable, COMMANDS / "export_images.py", "--samples", tmp_path / "set"]
    subprocess.run([*command, "--output", tmp_path / "pngs"], check=True, capture_output=True)
    files = sorted((tmp_path / "pngs").iterdir())
    assert [path.name for path in files] == [f"{number:06}.png" for number in range(5)]
    read = np.stack([np.asarray(Image.open(path)) for path in files])
    assert (read.reshape(images.shape) == images).all()


def test_a_count_takes_the_first_images_of_a_prepared_split(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (6, 4, 4, 1), np.uint8)
    np.save(tmp_path / "train.npy", images)
    export([tmp_path / "train.npy"], tmp_path / "pngs", count=2)
    files = sorted((tmp_path / "pngs").iterdir())
    assert len(files) == 2
    assert (np.asarray(Image.open(files[1])) == images[1, ..., 0]).all()


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    write_set(tmp_path / "set", [2])
    (tmp_path / "pngs").mkdir()
    (tmp_path / "pngs" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"pngs: is not empty; name a new folder"):
        export([tmp_path / "set"], tmp_path / "pngs")
    assert [path.name for path in (tmp_path / "pngs").iterdir()] == ["mine.txt"]


def test_an_export_that_is_broken_off_leaves_nothing(tmp_path):
    write_set(tmp_path / "set", [4])
    arrays, count = png_export.images_to_export([tmp_path / "set"], None)
    written = png_export.export_images(arrays, tmp_path / "pngs", count)
    assert next(written) == 0
    assert not (tmp_path / "pngs").exists()
    written.close()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_set_with_a_piece_missing_is_refused(tmp_path):
    write_set(tmp_path / "set", [2, 2, 2])
    (tmp_path / "set" / "images-000002-000003.npy").unlink()
    problem = r"images-000004-000005\.npy: begins at image 4; the file with image 2 is missing"
    with pytest.raises(UserError, match=problem):
        png_export.images_to_export([tmp_path / "set"], None)


def test_a_folder_without_samples_and_too_large_a_count_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no images-\*\.npy"):
        png_export.images_to_export([tmp_path], None)
    write_set(tmp_path / "set", [2])
    with pytest.raises(UserError, match="--count 3: there are 2 images"):
        png_export.images_to_export([tmp_path / "set"], 3)


@pytest.mark.parametrize(("split", "expected"), [("train", 3), ("eval", 2), ("all", 5)])
def test_a_prepared_dataset_is_exported_by_split(tmp_path, split, expected):
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    np.save(tmp_path / "train.npy", images[:3])
    np.save(tmp_path / "eval.npy", images[3:])
    arrays, count = png_export.images_to_export([tmp_path], None, split)
    assert count == expected
    first = 3 if split == "eval" else 0
    assert np.array_equal(np.concatenate(arrays), images[first : first + expected])
