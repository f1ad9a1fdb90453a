"""The images closest to training images."""

import numpy as np
import pytest
from drawn import program, texts
from fake_results import write_nearest, write_samples
from PIL import Image

from ddpm_bench.errors import UserError
from ddpm_bench.records.nearest import Nearest, read_nearest
from ddpm_bench.report.figures import closest_pairs


def distances(generated, nearest, heldout=()):
    arrays = [np.asarray(values, np.float32) for values in (generated, heldout)]
    return Nearest(arrays[0], np.asarray(nearest), arrays[1])


def write_train(folder, count=20):
    images = np.random.default_rng(2).integers(0, 256, (count, 16, 16, 1), np.uint8)
    np.save(folder / "train.npy", images)
    return folder / "train.npy"


def test_the_closest_pairs_come_first_with_their_nearest_training_image(tmp_path):
    files = [write_samples(tmp_path, "digits", 1, images=2, first=first) for first in (0, 2)]
    train = write_train(tmp_path)
    pairs = closest_pairs.closest_pairs(distances([3, 1, 2, 1], [5, 6, 7, 8]), files, train)
    assert [distance for *_, distance in pairs] == [1, 1, 2, 3]
    samples, trained = np.concatenate([np.load(file) for file in files]), np.load(train)
    for (generated, nearest, _), index in zip(pairs, (1, 3, 2, 0), strict=True):
        assert (generated == samples[index]).all()
        assert (nearest == trained[[5, 6, 7, 8][index]]).all()


def test_the_figure_has_the_shares_below_the_closest_held_out_images():
    heldout = np.arange(1, 101)
    found = distances([1, 2, 3, 50, 60, 70, 80, 90], [0] * 8, heldout)
    figure = closest_pairs.closest_figure(found, [], "inception", "T")
    written = texts(figure.axes[0]).replace("\n", " ")
    assert "37.5% of the generated images are left of the line" in written
    assert "5% are expected, and 0.0% to 25.0% in 95 of 100 cases" in written
    assert "distance to the nearest training image (Inception features)" in written


def test_few_held_out_images_give_no_line_and_the_number_that_does():
    figure = closest_pairs.closest_figure(distances([1, 2], [0] * 2, range(1, 19)), [], "x", "T")
    (axes,) = figure.axes
    assert "Only 18 images are held out of training: from 19 on" in texts(axes).replace("\n", " ")
    assert not axes.lines


def test_without_held_out_images_only_the_generated_are_drawn():
    figure = closest_pairs.closest_figure(distances([1, 2, 3], [0] * 3), [], "classifier", "T")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["generated (3)"]
    assert "Nothing is held out of training" in texts(axes)


def test_a_score_without_distances_has_a_sentence_in_place_of_curves():
    figure = closest_pairs.closest_figure(distances([], []), [], "classifier", "T")
    assert "No distances to training images" in texts(figure.axes[0]).replace("\n", " ")


def test_plot_closest_pairs_draws_the_files_of_a_score(tmp_path):
    nearest = write_nearest(tmp_path, "classifier", 300)
    samples = write_samples(tmp_path, "digits", 300)
    program(
        "plot_closest_pairs", "--nearest", nearest, "--samples", samples,
        "--train", write_train(tmp_path), "--feature-space", "classifier",
        "--output", tmp_path / "c.png",
    )  # fmt: skip
    assert Image.open(tmp_path / "c.png").size == (2700, 1350)
    title = closest_pairs.closest_title(nearest)
    assert title == "digits: dpm20 at training step 300, closest to training images (classifier)"


def test_files_that_do_not_belong_together_are_named(tmp_path):
    nearest = read_nearest(write_nearest(tmp_path, "classifier", 300))
    with pytest.raises(UserError, match="there are 3 samples, and 16 were scored"):
        files = [write_samples(tmp_path, "digits", 300, images=3)]
        closest_pairs.closest_pairs(nearest, files, write_train(tmp_path))
    with pytest.raises(UserError, match=r"train\.npy: holds 2 images"):
        files = [write_samples(tmp_path, "digits", 300)]
        closest_pairs.closest_pairs(nearest, files, write_train(tmp_path, count=2))
    np.savez(tmp_path / "other.npz", mu=np.zeros(3))
    with pytest.raises(UserError, match=r"other\.npz: cannot be read as distances"):
        read_nearest(tmp_path / "other.npz")
