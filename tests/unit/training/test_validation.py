"""Validation losses are those of the equations, at fixed noise, and show what is memorised."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from places import SCRIPTS
from small_trainer import (
    UNET,
    random_images,
    run_to_end,
    small_stage,
    small_trainer,
    weights_after,
)

from ddpm_bench.config.training import TrainRun, ValidateStage
from ddpm_bench.files import write_json
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.models.randomness import validation_draws, validation_positions
from ddpm_bench.report.tables.score_tables import VALIDATION_COLUMNS, read_table
from ddpm_bench.training.description import TrainingJob
from ddpm_bench.training.manifests import load_checkpoint
from ddpm_bench.training.publishing import publish_job
from ddpm_bench.training.validation import Validator

CPU = torch.device("cpu")
SPLITS = np.split(random_images(50), [20])  # 20 held out, 30 for training


def stage(images: int = 12, seed: int = 0, **keys) -> ValidateStage:
    validation = {"images": images, "seed": seed}
    return ValidateStage.model_validate(
        {"version": 1, "model": UNET, "validation": validation, **keys}
    )


def weights(seed: int = 0, model: dict = UNET) -> dict[str, torch.Tensor]:
    keys = small_stage(model).model
    return {name: value.detach() for name, value in build_model(keys, 1, seed).named_parameters()}


def measured(validation: Validator, of: dict[str, torch.Tensor]) -> dict[str, float]:
    return validation.row(20, of, lambda images: None)


@pytest.mark.parametrize("model", [UNET, {**UNET, "self_condition": True}])
@torch.no_grad()
def test_losses_are_those_of_the_equations(model):
    """v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans & Ho 2022), x_0 = sqrt(abar) x_t -
    sqrt(1 - abar) v, weight min(SNR, gamma) / (SNR + 1) (Hang et al. 2023)."""
    keys = stage(model=model, diffusion={"beta_schedule": "linear"}, min_snr_gamma=5.0)
    network = build_model(keys.model, 1)
    network.load_state_dict(weights(model=model))
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    noise, times = validation_draws(0, range(12), 12, 1000, (1, 8, 8))
    a, b = (
        value.sqrt().float()[times][:, None, None, None] for value in (alpha_bar, 1 - alpha_bar)
    )
    snr = (alpha_bar / (1 - alpha_bar))[times]
    weight = snr.clamp(max=5) / (snr + 1)
    expected = []
    for split in SPLITS:
        levels = torch.from_numpy(split[validation_positions(0, len(split), 12)])
        images = levels.permute(0, 3, 1, 2) / 127.5 - 1
        noised = a * images + b * noise
        seen = ()
        if keys.model.self_condition:
            seen = (a * noised - b * network(noised, times),)
        error = network(noised, times, *seen) - (a * noise - b * images)
        expected.append(((error**2).mean(dim=(1, 2, 3)) * weight).numpy())
    validation = Validator(keys, *SPLITS, CPU)
    np.testing.assert_allclose(
        validation_losses(validation, weights(model=model)), expected, rtol=1e-4
    )
    row = measured(validation, weights(model=model))
    held_out, training = expected
    error = (held_out - training).std(ddof=1) / 12**0.5
    assert list(row) == VALIDATION_COLUMNS
    np.testing.assert_allclose(
        list(row.values()), [20, 12, held_out.mean(), training.mean(), error], rtol=1e-4
    )


def validation_losses(validation: Validator, of: dict[str, torch.Tensor]) -> np.ndarray:
    measured(validation, of)
    return validation.losses(range(12))


def test_losses_do_not_depend_on_how_images_are_cut_into_batches():
    whole, cut = (measured(Validator(stage(), *SPLITS, CPU, size), weights()) for size in (64, 5))
    assert cut == pytest.approx(whole, rel=1e-5)
    first, second = (
        validation_draws(0, part, 12, 1000, (1, 8, 8)) for part in (range(5), range(5, 12))
    )
    whole_draws = validation_draws(0, range(12), 12, 1000, (1, 8, 8))
    for parts, together in zip(zip(first, second, strict=True), whole_draws, strict=True):
        assert torch.equal(torch.cat(parts), together)


def test_all_checkpoints_see_the_same_images_and_noise():
    validation = Validator(stage(), *SPLITS, CPU)
    first = measured(validation, weights())
    assert measured(validation, weights(seed=1)) != first
    assert measured(validation, weights()) == first
    assert measured(Validator(stage(), *SPLITS, CPU), weights()) == first
    assert measured(Validator(stage(seed=1), *SPLITS, CPU), weights()) != first


def test_equal_splits_have_equal_losses():
    """Both see the same timesteps and noise, so no difference comes from these."""
    row = measured(Validator(stage(), SPLITS[0], SPLITS[0], CPU), weights())
    assert row["eval_loss"] == row["train_loss"] and row["gap_standard_error"] == 0


@pytest.mark.parametrize(("images", "timesteps"), [(12, 1000), (1000, 1000), (7, 20)])
def test_each_part_of_the_timesteps_has_one_image(images, timesteps):
    _, times = validation_draws(3, range(images), images, timesteps, (1, 1, 1))
    parts = np.arange(images) * timesteps / images
    assert (times.numpy() >= np.floor(parts)).all()
    assert (times.numpy() <= np.floor(parts + timesteps / images)).all()
    assert times.min() >= 0 and times.max() < timesteps


def test_images_are_chosen_once_each_and_not_in_the_order_of_the_dataset():
    chosen = validation_positions(0, 1000, 100)
    assert len(set(chosen)) == 100 and 300 < np.mean(chosen) < 700
    assert np.mean(np.diff(chosen) > 0) < 0.7
    assert Validator(stage(images=512), *SPLITS, CPU).images == 20  # the smaller split has no more


def test_memorising_is_seen(tmp_path):
    """A network trained on few images of pure chance can only learn them by heart."""
    held_out, training = np.split(random_images(16), 2)
    trainer = small_trainer(tmp_path, small_stage(learning_rate=3e-3), training)
    validation = Validator(stage(), held_out, training, CPU)
    before = measured(validation, weights())
    assert abs(before["eval_loss"] - before["train_loss"]) < 2 * before["gap_standard_error"]
    weights_after(trainer, 100)
    after = measured(validation, trainer.averages.of[None])
    gap = after["eval_loss"] - after["train_loss"]
    assert gap > 2 * after["gap_standard_error"] and gap > 0.3 * after["train_loss"]


def test_the_program_validates_the_checkpoints_of_a_job(tmp_path):
    job = small_stage(checkpoint_every=2, ema_sigma_rels=[0.1])
    folder = run_to_end(tmp_path, job, last=4)
    manifest = tmp_path / "small" / "training" / "job.json"
    finished = TrainingJob(0, 4, job, TrainRun(), "{}")
    write_json(manifest, publish_job(folder, finished, [2, 4]))
    np.save(tmp_path / "eval.npy", random_images(10))
    np.save(tmp_path / "train.npy", random_images())
    output = tmp_path / "small" / "training" / "validation.csv"
    what = json.dumps({"version": 1, "model": UNET})
    command = [sys.executable, SCRIPTS / "validate.py", "--what", what, "--how", '{"cpus":1}']
    command += ["--manifest", manifest, "--output", output]
    command += ["--eval", tmp_path / "eval.npy", "--train", tmp_path / "train.npy"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10 images of each split, not 512" in done.stderr

    validation = Validator(stage(images=512), random_images(10), random_images(), CPU)
    expected = [
        validation.row(step, load_checkpoint(manifest, step), lambda images: None)
        for step in (2, 4)  # of the average that is the job's first, and of no other
    ]
    table = read_table(output, VALIDATION_COLUMNS)
    pd.testing.assert_frame_equal(
        table, pd.DataFrame(expected), check_dtype=False, rtol=1e-5, atol=1e-9
    )
