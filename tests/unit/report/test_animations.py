"""Animations: what their frames show, how long, and that the last is what was asked for."""

import numpy as np
import pytest
import torch
from fake_results import write_samples
from PIL import Image, ImageSequence

from ddpm_bench.config.networks import Unet
from ddpm_bench.config.sampling import Drawing, SampleStage
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.report.figures import animations
from ddpm_bench.sampling.sampler import Sampler, denoising_steps

MODEL = Unet(name="unet", dim=8, dim_mults=(1, 2))


def sampler(channels: int = 1, **drawing) -> Sampler:
    keys = Drawing(**{"steps": 5, "batch_size": 4, **drawing})
    stage = SampleStage(version=1, image_size=8, channels=channels, model=MODEL, drawing=keys)
    weights = build_model(MODEL, channels, seed=3).state_dict()
    return Sampler(stage, weights, torch.device("cpu"))


def tiles(frame: Image.Image, row: int, side: int, count: int, rows: int = 2) -> np.ndarray:
    """The images of a row of a frame as they are shown, from the frame's lower end."""
    gap, margin, named = 4, animations.MARGIN, 26 + 8
    bottom = frame.height - margin - (rows - 1 - row) * (side + named)
    pixels = np.asarray(frame.convert("L"))[bottom - side : bottom, margin:]
    return np.stack([pixels[:, x * (side + gap) :][:, :side] for x in range(count)])


@pytest.mark.parametrize(("scheduler", "steps"), [("dpmsolver++", 5), ("heun", 12)])
def test_a_trajectory_ends_with_the_very_images_of_the_set(scheduler, steps):
    drawn = sampler(scheduler=scheduler, steps=steps)
    *_, (number, images, estimates) = denoising_steps(drawn, 3, most=2)
    assert number == steps and images.shape == estimates.shape == (3, 8, 8, 1)
    assert (images == drawn.draw(0, 4).numpy()[:3]).all()


def test_a_trajectory_goes_from_noise_to_image_in_evenly_spread_steps():
    steps = list(denoising_steps(sampler(steps=12), 4, most=5))
    assert [number for number, *_ in steps] == [1, 4, 7, 9, 12]
    last = steps[-1][1].astype(float)
    distances = [np.abs(images - last).mean() for _, images, _ in steps]
    assert distances == sorted(distances, reverse=True)


def test_the_last_frame_of_a_trajectory_shows_the_set_pixel_for_pixel_and_rests(tmp_path):
    drawn = sampler()
    frames = animations.denoising_frames(denoising_steps(drawn, 4, most=40), 5, "From noise")
    animations.save_animation(frames, tmp_path / "d.gif")
    with Image.open(tmp_path / "d.gif") as gif:
        shown = [(frame.copy(), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)]
        assert gif.info["loop"] == 0  # for ever
    assert len(shown) == 5
    assert shown[-1][1] == animations.LAST_MILLISECONDS > 4 * shown[0][1]
    expected = drawn.draw(0, 4).numpy()[..., 0].repeat(12, axis=1).repeat(12, axis=2)
    assert (tiles(shown[-1][0], row=0, side=96, count=4) == expected).all()


def test_colours_are_kept_as_far_as_a_gif_can(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    picture = animations.frame("t", "s", [("", noise)], 1.0)
    animations.save_animation([picture], tmp_path / "c.gif")
    shown = np.asarray(Image.open(tmp_path / "c.gif").convert("RGB")).astype(int)
    assert np.abs(shown - np.asarray(picture)).max() < 16  # 32 colours, and grays of the text


def test_an_animation_over_training_has_a_frame_for_each_checkpoint(tmp_path):
    steps = [300, 600, 900]
    files = [write_samples(tmp_path, "digits", step) for step in steps]
    frames = list(animations.training_frames(steps, files, "Samples over training"))
    assert len(frames) == 3
    expected = np.load(files[-1])[8:16, ..., 0].repeat(6, axis=1).repeat(6, axis=2)
    bottom = frames[-1].height - animations.MARGIN
    pixels = np.asarray(frames[-1])[bottom - 96 : bottom, animations.MARGIN :]
    shown = np.stack([pixels[:, x * 100 : x * 100 + 96] for x in range(8)])
    assert (shown == expected).all()


def test_many_checkpoints_are_spread_over_the_frames(tmp_path):
    files = [write_samples(tmp_path, "digits", 1, images=2, size=8)] * 75
    frames = list(animations.training_frames(list(range(1, 76)), files, "Samples"))
    assert len(frames) == animations.MOST_FRAMES


@pytest.mark.parametrize("side, factor", [(8, 12), (28, 4), (32, 3), (64, 2), (96, 1), (256, 1)])
def test_small_images_are_enlarged_by_whole_factors(side, factor):
    assert animations.shown_side(side) == side * factor


def test_large_images_have_fewer_frames_and_columns_so_that_files_stay_small():
    assert animations.frames_of(16, 16, rows=2) == (40, 8)
    most, columns = animations.frames_of(256, 256, rows=2)
    assert columns == 4 and most * columns * 2 * 256 * 256 <= animations.MOST_PIXELS


def test_equal_frames_are_equal_bytes_and_nothing_is_left_beside_them(tmp_path):
    images = np.zeros((2, 8, 8, 1), np.uint8)
    for name in ("1.gif", "2.gif"):
        animations.save_animation([animations.frame("t", "s", [("", images)], 1)], tmp_path / name)
    assert (tmp_path / "1.gif").read_bytes() == (tmp_path / "2.gif").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.gif", "2.gif"]


def test_long_headings_are_wrapped_within_the_frame():
    face = animations.font(19, bold=True)
    lines = animations.wrapped("a heading that is much too long " * 4, face, 300)
    assert len(lines) > 1 and all(face.getlength(line) <= 300 for line in lines)
