"""Scoring of any images against any others outside the workflow."""

import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from feature_spaces import small_classifier, write_pngs
from labelled_digits import digits, write_digits
from PIL import Image
from places import SCRIPTS

from ddpm_bench.config.scoring import Score
from ddpm_bench.errors import UserError
from ddpm_bench.images.folders import read_images
from ddpm_bench.scoring import score_folders
from ddpm_bench.scoring.given_files import image_files
from ddpm_bench.scoring.score_folders import (
    Request,
    open_pictures,
    score_images,
    summary_lines,
)

CLASSIFIER = Score(features="classifier", run={"cpus": 2})
IMAGES, _ = digits()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return small_classifier(tmp_path_factory.mktemp("classifier"))


def request(weights, samples, reference, **changes):
    given = {"split": "train", "images": None, "keys": CLASSIFIER, "weights": weights}
    return Request(samples=[samples], reference=reference, **(given | changes))


# Folders of images


def read(folder):
    return read_images(image_files(folder)[0], cpus=2)


def test_a_folder_is_read_in_the_order_of_its_names_whatever_is_below_it(tmp_path):
    write_pngs(tmp_path / "b", IMAGES[:2])
    write_pngs(tmp_path / "a" / "deep", IMAGES[2:5])
    (tmp_path / "notes.txt").write_text("hello")
    assert np.array_equal(read(tmp_path), np.concatenate([IMAGES[2:5], IMAGES[:2]]))


def test_grayscale_among_colours_is_repeated_to_three_channels(tmp_path):
    write_pngs(tmp_path, IMAGES[:2])
    colour = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / "z.png")
    images = read(tmp_path)
    assert images.shape == (3, 16, 16, 3)
    assert np.array_equal(images[2], colour)
    assert np.array_equal(images[0], IMAGES[0].repeat(3, axis=2))


def test_an_image_is_turned_as_its_exif_says(tmp_path):
    image, exif = Image.new("RGB", (8, 4)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path).shape == (1, 8, 4, 3)


def test_an_alpha_channel_that_hides_nothing_is_left_out(tmp_path):
    image = Image.fromarray(IMAGES[0, ..., 0]).convert("RGBA")
    image.save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path)[0, ..., 0], IMAGES[0, ..., 0])


def transparent():
    return Image.new("RGBA", (16, 16), (0, 0, 0, 128))


def sixteen_bits():
    return Image.fromarray(np.full((16, 16), 40_000, np.uint16))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (transparent(), "z.png: has transparent pixels"),
        (sixteen_bits(), "z.png: has more than 8 bits"),
        (Image.new("L", (16, 20)), r"z.png: is 16x20 pixels and .*000.png is 16x16"),
    ],
)
def test_images_that_no_score_is_of_are_refused_by_name(tmp_path, image, said):
    write_pngs(tmp_path / "images", IMAGES[:2])
    image.save(tmp_path / "images" / "z.png")
    with pytest.raises(UserError, match=said) as raised:
        read(tmp_path / "images")
    assert "\n" not in str(raised.value)


def test_all_files_that_cannot_be_scored_are_named_at_once(tmp_path):
    folder = tmp_path / "images"
    write_pngs(folder, IMAGES[:2])
    transparent().save(folder / "x.png")
    sixteen_bits().save(folder / "y.png")
    (folder / "000.png").write_bytes(b"hello")
    for number in range(4):
        Image.new("L", (16, 20 + number)).save(folder / f"z{number}.png")
    with pytest.raises(UserError) as raised:
        read(folder)
    *named, last = str(raised.value).splitlines()
    files = ["000.png", "x.png", "y.png", "z0.png", "z1.png"]
    assert [line.split(": ")[0] for line in named] == [str(folder / file) for file in files]
    assert last == "and 2 more files"


def test_colours_of_sixteen_bits_are_refused(tmp_path):
    """Pillow would drop half of the bits without a warning."""
    rows = b"".join(b"\0" + bytes(16 * 6) for _ in range(16))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    (tmp_path / "deep.png").write_bytes(content)
    with pytest.raises(UserError, match=r"deep.png: has more than 8 bits"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"half"])
def test_a_file_that_is_no_image_is_refused_by_name(tmp_path, content):
    (path,) = write_pngs(tmp_path / "images", IMAGES[:1])
    path.write_bytes(path.read_bytes()[:60] if content == b"half" else content)
    with pytest.raises(UserError, match=r"000.png: cannot be read as an image"):
        read(tmp_path / "images")


def names(paths, folder):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_the_images_of_a_folder_are_those_that_prepare_takes(tmp_path):
    folder = tmp_path / "folder"
    write_pngs(folder / ".ipynb_checkpoints", IMAGES[:2])
    write_pngs(tmp_path / "elsewhere", IMAGES[:2])
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    for suffix in ("ppm", "pgm", "gif", "tga", "mpo", "avif"):
        Image.fromarray(IMAGES[0, ..., 0]).convert("RGB").save(folder / f"image.{suffix}", "PNG")
    (folder / "named-by-its-hash").write_bytes((folder / "image.ppm").read_bytes())
    (folder / "labels.csv").write_text("name,label")
    (folder / ".DS_Store").write_bytes(b"")
    images, others = image_files(folder)
    assert names(images, folder) == [
        *("image.avif", "image.gif", "image.mpo", "image.pgm", "image.ppm", "image.tga"),
        *("linked/000.png", "linked/001.png", "named-by-its-hash"),
    ]
    assert names(others, folder) == [
        *(".ipynb_checkpoints/000.png", ".ipynb_checkpoints/001.png", "labels.csv")
    ]
    assert len(read_images(images, cpus=2)) == 9


def test_files_that_are_not_scored_are_named(weights, tmp_path):
    write_pngs(tmp_path / "a", IMAGES[:8])
    write_pngs(tmp_path / "b", IMAGES[8:20])
    for number in range(7):
        (tmp_path / "a" / f"{number}.txt").write_text("no image")
    record = score_images(request(weights, tmp_path / "a", tmp_path / "b"))
    assert record["files_not_read"] == [str(tmp_path / "a" / f"{n}.txt") for n in range(7)]
    (line,) = (line for line in summary_lines(record) if line.startswith("not read"))
    assert line.endswith("4.txt and 2 more")


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        image_files(tmp_path)


# Samples


def test_a_folder_of_the_workflows_samples_is_read_in_their_order(tmp_path):
    np.save(tmp_path / "images-000010-000014.npy", IMAGES[10:15])
    np.save(tmp_path / "images-000000-000009.npy", IMAGES[:10])
    (tmp_path / "grid.png").write_bytes(b"not one of them")
    arrays = open_pictures([tmp_path], CLASSIFIER.run)
    assert np.array_equal(np.concatenate(arrays), IMAGES[:15])


def test_other_arrays_are_taken_under_any_name(tmp_path):
    np.save(tmp_path / "mine.npy", IMAGES[:5])
    (array,) = open_pictures([tmp_path / "mine.npy"], CLASSIFIER.run)
    assert np.array_equal(array, IMAGES[:5])


def test_samples_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere: is neither a folder nor a file"):
        open_pictures([tmp_path / "nowhere"], CLASSIFIER.run)


# References


def test_a_folder_an_array_and_saved_features_of_the_same_images_give_the_same_scores(
    weights, tmp_path
):
    write_pngs(tmp_path / "real", IMAGES[100:140])
    np.save(tmp_path / "real.npy", IMAGES[100:140])
    write_pngs(tmp_path / "drawn", IMAGES[:30])
    saved = tmp_path / "features.npz"
    folder = score_images(
        request(weights, tmp_path / "drawn", tmp_path / "real", save_reference=saved)
    )
    assert folder["fid"] > 0 and folder["images_reference"] == 40
    assert folder["reference"] == str(tmp_path / "real")
    for reference in (tmp_path / "real.npy", saved):
        other = score_images(request(weights, tmp_path / "drawn", reference))
        assert other == folder | {"reference": str(reference), "fid_reference": str(reference)}


@pytest.mark.parametrize(("split", "images"), [("train", 40), ("eval", 19), ("all", 59)])
def test_a_prepared_dataset_also_tells_of_memorising(weights, tmp_path, split, images):
    dataset = write_digits(tmp_path / "digits", train=40, held_out=19)
    np.save(tmp_path / "copies.npy", IMAGES[:30])  # training images
    found = score_images(request(weights, tmp_path / "copies.npy", dataset, split=split))
    assert found["images_reference"] == images and found["reference"] == f"{dataset} ({split})"
    assert found["nearest_generated"] == pytest.approx(0, abs=0.01)
    assert found["nearest_heldout"] > 0 and found["memorised_share"] == 1


def test_statistics_of_another_network_are_refused(weights, tmp_path):
    np.savez(tmp_path / "published.npz", mu=np.zeros(8), sigma=np.eye(8))
    np.save(tmp_path / "drawn.npy", IMAGES[:30])
    asked = request(weights, tmp_path / "drawn.npy", tmp_path / "published.npz")
    with pytest.raises(UserError, match="mu and sigma are Inception's"):
        score_images(asked)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": 31}, "31 samples are asked for and 30 are given"),
        (
            {"keys": CLASSIFIER.model_copy(update={"kid_subset_size": 35})},
            "kid_subset_size = 35 exceeds the 30 samples",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused_before_the_network_is_opened(
    weights, tmp_path, monkeypatch, changes, said
):
    monkeypatch.setattr(score_folders, "features_of", lambda *_: pytest.fail("the network ran"))
    np.save(tmp_path / "drawn.npy", IMAGES[:30])
    np.save(tmp_path / "real.npy", IMAGES[:40])
    asked = request(weights, tmp_path / "drawn.npy", tmp_path / "real.npy", **changes)
    with pytest.raises(UserError, match=said):
        score_images(asked)


def test_images_of_another_shape_than_the_references_are_refused(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(score_folders, "features_of", lambda *_: pytest.fail("the network ran"))
    np.save(tmp_path / "drawn.npy", IMAGES[:30, :8])
    np.save(tmp_path / "real.npy", IMAGES[:40])
    with pytest.raises(UserError, match=r"drawn.npy: images are \[8, 16, 1\]"):
        score_images(request(weights, tmp_path / "drawn.npy", tmp_path / "real.npy"))


# The program


def test_the_program_prints_a_table_and_writes_the_scores(weights, tmp_path):
    write_pngs(tmp_path / "drawn", IMAGES[:30])
    write_pngs(tmp_path / "real", IMAGES[100:140])
    ended = subprocess.run(
        [
            *(sys.executable, SCRIPTS / "score.py", "--features", "classifier"),
            *("--samples", tmp_path / "drawn", "--reference", tmp_path / "real"),
            *("--weights", weights, "--output", tmp_path / "scores.json", "--cpus", "1"),
            *("--isc-splits", "3"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert ended.stdout.splitlines() == summary_lines(scores)
    assert "classifier (8 dimensions)" in ended.stdout and "30 images" in ended.stdout
    # 30 images are fewer than four for each dimension.
    fid = f"{scores['fid']:.2f} ± {scores['fid_std']:.2f}"
    assert f"{fid} (rough: fewer than 4 images per dimension)\n" in ended.stdout
    assert scores["kid_subset_size"] is None and scores["kid_std"] > 1e-4


def test_options_that_do_not_fit_are_refused_in_one_line(tmp_path):
    ended = subprocess.run(
        [
            *(sys.executable, SCRIPTS / "score.py", "--features", "dinov2"),
            *("--samples", tmp_path, "--reference", tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert "the options do not fit" in ended.stderr and "dinov2" in ended.stderr
