"""Which images of earlier versions are prepared again."""

import csv

import pytest

from ddpm_bench import files
from ddpm_bench.config.versions import VERSIONS
from ddpm_bench.planning.earlier_images import preparing_version

SUMMARY = {
    **{"files": 1, "train": 1, "eval": 0, "left_out": {}, "distinct": 1, "labels": {}},
    **{"image_size": 16, "channels": 3, "grayscale_to_rgb": 0, "rgb_to_grayscale": 0},
    "sha256": {"train": "", "eval": ""},
}


def version(results, *rows, **keys):
    """The version of a dataset of files: (name, mode, reason) each."""
    folder = results / "datasets" / "mine"
    files.write_json(folder / "summary.json", SUMMARY | keys)
    with (folder / "images.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerows([("source", "mode", "left_out"), *rows])
    return preparing_version(str(results), "mine")


def test_a_dataset_that_is_not_prepared_has_the_present_version(tmp_path):
    assert preparing_version(str(tmp_path), "mine") == VERSIONS["prepare"] == 2


@pytest.mark.parametrize(
    "row",
    [
        *[("a.jpg", "RGB", ""), ("a.jpg", "L", ""), ("a.png", "RGB", ""), ("a.png", "RGBA", "")],
        *[("a.png", "I;16", ""), ("a.tif", "RGB", ""), ("a.pgm", "I", ""), ("test[7]", "L", "")],
        *[("a.txt", "", "not an image of a known format"), ("a.gif", "P", "animated: more than")],
        *[("a.png", "", "empty file"), ("a.tif", "L", "larger than 100 megapixels")],
    ],
)
def test_images_that_are_read_as_before_stay(tmp_path, row):
    assert version(tmp_path, ("b.jpg", "RGB", ""), row) == 1


@pytest.mark.parametrize(
    "row",
    [
        *[("a.tif", "L", ""), ("a.TIFF", "I;16", ""), ("a.tif", "I", ""), ("a.pfm", "F", "")],
        *[("a.png", "L", ""), ("a.HEIC", "", "not an image of a known format")],
        *[
            ("a.jpg", "RGB", "broken or truncated image"),
            ("a.tif", "", "animated: more than one frame"),
        ],
        ("a.png", "", "not an image of a known format"),
    ],
)
def test_images_that_may_be_read_otherwise_are_prepared_again(tmp_path, row):
    assert version(tmp_path, ("b.jpg", "RGB", ""), row) == 2


def test_prepared_images_keep_the_version_that_stands_beside_them(tmp_path):
    assert version(tmp_path, ("a.tif", "L", ""), version=2) == 2
    assert version(tmp_path, ("a.jpg", "RGB", ""), version=2) == 2


def test_a_table_that_cannot_be_read_keeps_nothing(tmp_path):
    version(tmp_path, ("b.jpg", "RGB", ""))
    (tmp_path / "datasets" / "mine" / "images.csv").unlink()
    assert preparing_version(str(tmp_path), "mine") == 2
