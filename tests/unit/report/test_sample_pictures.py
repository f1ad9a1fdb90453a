import subprocess
import sys

import numpy as np
import pytest
from drawn import program
from fake_results import write_samples
from PIL import Image
from places import SCRIPTS

from ddpm_bench.errors import UserError
from ddpm_bench.report.figures import sample_pictures


def test_a_grid_holds_the_first_images_of_all_files_in_order(tmp_path):
    first = write_samples(tmp_path, "digits", 300, images=3, size=64)
    second = write_samples(tmp_path, "digits", 300, images=3, size=64, first=3)
    picture = np.asarray(sample_pictures.sample_grid([first, second], 4))
    tiles = [
        picture[y : y + 64, x : x + 64] for y in (2, 2 + 66) for x in (2, 2 + 66)
    ]  # a 2 by 2 grid of unscaled images, 2 pixels apart
    images = np.concatenate([np.load(first), np.load(second)])[:4, ..., 0]
    assert all(np.array_equal(*pair) for pair in zip(tiles, images, strict=True))


def test_a_grid_of_a_set_smaller_than_asked_for_is_whole(tmp_path):
    file = write_samples(tmp_path, "digits", 300, images=5, channels=3)
    output = tmp_path / "grid.png"
    what = '{"version":1,"images":64}'
    command = [sys.executable, SCRIPTS / "sample_grid.py", "--what", what]
    command += ["--samples", file, "--output", output]
    subprocess.run(command, check=True)
    assert Image.open(output).size == (3 * 50 + 2, 2 * 50 + 2)


def test_files_that_are_no_samples_are_named(tmp_path):
    np.save(tmp_path / "features.npy", np.zeros((3, 64), np.float32))
    with pytest.raises(UserError, match=r"features\.npy: holds float32"):
        sample_pictures.sample_grid([tmp_path / "features.npy"], 64)


def test_pickled_arrays_are_refused(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"evil\.npy"):
        sample_pictures.sample_grid([tmp_path / "evil.npy"], 64)


def test_columns_of_samples_over_training_are_pixel_for_pixel_the_checkpoints(tmp_path):
    files = [write_samples(tmp_path, "digits", step, size=30) for step in (300, 600)]
    output = tmp_path / "s.png"
    outputs = ["--output", output, "--animation", tmp_path / "s.gif"]
    program("plot_samples", "--steps", 300, 600, "--samples", *files, *outputs)
    assert Image.open(tmp_path / "s.gif").n_frames == 2
    picture = np.asarray(Image.open(output).convert("L"))
    expected = np.load(files[1])[7, ..., 0].repeat(4, axis=0).repeat(4, axis=1)
    canvas_width, margin = 2 * 124 - 4, 60
    left = (900 - canvas_width) // 2 + 124
    bottom = picture.shape[0] - margin
    assert np.array_equal(picture[bottom - 120 : bottom, left : left + 120], expected)


def test_many_checkpoints_are_thinned_and_the_title_has_both_numbers(tmp_path):
    steps = list(range(1000, 76_000, 1000))
    files = [write_samples(tmp_path, "digits", step, images=2, size=8) for step in steps]
    figure = sample_pictures.samples_over_training(steps, files, "Samples over training")
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert (len(shown), shown[0], shown[-1]) == (12, "1,000", "75,000")
    assert "12 of 75 checkpoints" in figure.texts[0].get_text().replace("\n", " ")


def test_steps_and_files_must_pair(tmp_path):
    with pytest.raises(UserError, match="2 training steps and 1 files"):
        sample_pictures.samples_over_training([1, 2], [write_samples(tmp_path, "digits", 1)], "S")
