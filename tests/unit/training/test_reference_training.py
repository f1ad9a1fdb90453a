"""Ten steps of ours are ten steps of a plain loop written from the equations of the papers."""

import copy
import math

import numpy as np
import pytest
import torch
from small_trainer import UNET, UNET2D, difference, random_images, small_stage, small_trainer

from ddpm_bench.models.denoiser import build_model
from ddpm_bench.models.randomness import batch_flips, batch_positions, sees_estimate, step_draws
from ddpm_bench.training.ema import exponential_decay

STEPS, BATCH, TIMESTEPS = 10, 8, 1000
CPU = torch.device("cpu")


def alphas_bar() -> torch.Tensor:
    """Of the linear schedule, Ho et al. 2020, section 4: beta_1 = 1e-4 to beta_T = 0.02."""
    betas = torch.linspace(1e-4, 0.02, TIMESTEPS, dtype=torch.float64)
    return torch.cumprod(1 - betas, 0)


def plain_loop(stage, images: np.ndarray, weight, offset_noise=0.0) -> dict[str, torch.Tensor]:
    """Algorithm 1 of Ho et al. 2020 with Adam, gradient clipping, and nothing of ours but draws."""
    keys = stage.train
    network = build_model(stage.model, images.shape[3], keys.seed)
    adam = torch.optim.Adam(network.parameters(), lr=keys.learning_rate, betas=keys.adam_betas)
    abar = alphas_bar()
    for step in range(STEPS):
        positions = batch_positions(keys.seed, step * BATCH, BATCH, len(images))
        x0 = torch.from_numpy(images[positions]).permute(0, 3, 1, 2).double() / 255 * 2 - 1
        if keys.horizontal_flips:
            flips = batch_flips(keys.seed, step * BATCH, BATCH, len(images))
            x0[torch.from_numpy(flips)] = x0[torch.from_numpy(flips)].flip(3)
        noise, t = step_draws(keys.seed, step, x0.shape, TIMESTEPS, CPU, offset_noise)
        a = abar[t].sqrt()[:, None, None, None]
        s = (1 - abar[t]).sqrt()[:, None, None, None]
        xt = a * x0 + s * noise  # Ho et al. 2020, eq. 4
        inputs = [xt.float(), t]
        if stage.model.self_condition and sees_estimate(keys.seed, step):
            with torch.no_grad():
                out = network(*inputs).double()
                inputs.append(
                    (a * xt - s * out if keys_are_v(stage) else (xt - s * out) / a).float()
                )
        target = a * noise - s * x0 if keys_are_v(stage) else noise  # Salimans & Ho 2022, eq. 9
        error = ((network(*inputs) - target) ** 2).mean(dim=(1, 2, 3))
        (error * weight(abar[t] / (1 - abar[t]))).mean().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
    return {name: value.detach() for name, value in network.named_parameters()}


def keys_are_v(stage) -> bool:
    return stage.diffusion.objective == "pred_v"


def one(snr):
    return torch.ones_like(snr)


def snr_plus_one(snr):
    # v's error is (1 + 1/SNR)^-1 that of the noise in weight: Salimans & Ho 2022, section 4.
    return snr / (snr + 1)


@pytest.mark.parametrize("network", [UNET, UNET2D], ids=["unet", "unet2d"])
@pytest.mark.parametrize(("objective", "weight"), [("pred_noise", one), ("pred_v", snr_plus_one)])
def test_ten_steps_equal_a_plain_loop_from_the_papers(tmp_path, network, objective, weight):
    images = random_images()
    diffusion = {"objective": objective, "beta_schedule": "linear"}
    stage = small_stage(network, diffusion, learning_rate=1e-4)
    expected = plain_loop(stage, images, weight)
    trainer = small_trainer(tmp_path, stage, images)
    first = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    for _ in range(STEPS):
        trainer.train_one_step()
    assert difference(trainer.parameters, expected) < 1e-6
    assert difference(trainer.parameters, first) > 1e-4  # ten steps have moved them


@pytest.mark.parametrize(
    ("model", "train", "weight"),
    [
        # Hang et al. 2023, eq. 8: min(SNR, gamma) / SNR for the noise.
        ({}, {"min_snr_gamma": 5.0}, lambda snr: snr.clamp(max=5.0) / snr),
        ({}, {"offset_noise": 0.1}, one),
        ({}, {"horizontal_flips": True}, one),
        ({"self_condition": True}, {}, one),
    ],
    ids=["min-snr", "offset-noise", "flips", "self-conditioning"],
)
def test_options_of_the_loss_equal_their_equations(tmp_path, model, train, weight):
    images = random_images()
    diffusion = {"objective": "pred_noise", "beta_schedule": "linear"}
    stage = small_stage({**UNET, **model}, diffusion, learning_rate=1e-4, **train)
    expected = plain_loop(stage, images, weight, train.get("offset_noise", 0.0))
    trainer = small_trainer(tmp_path, stage, images)
    for _ in range(STEPS):
        trainer.train_one_step()
    assert difference(trainer.parameters, expected) < 1e-6
    if not model:  # a network of the same shape, so that one can see that it makes a difference
        usual = plain_loop(small_stage(UNET, diffusion, learning_rate=1e-4), images, one)
        assert difference(usual, expected) > 1e-5


def test_averages_equal_a_loop_over_the_weights(tmp_path):
    stage = small_stage(ema_decay=0.8, ema_sigma_rels=[0.1])
    trainer = small_trainer(tmp_path, stage)
    gamma = 6.9447  # of sigma_rel 0.10: Karras et al. 2024, section 3.1, gamma = 6.94
    plain = copy.deepcopy({name: value.detach() for name, value in trainer.parameters.items()})
    power = copy.deepcopy(plain)
    for step in range(1, 31):
        trainer.train_one_step()
        decay = min(0.8, (1 + step) / (10 + step))
        power_decay = (1 - 1 / step) ** (gamma + 1)
        for name, value in trainer.parameters.items():
            plain[name] = decay * plain[name] + (1 - decay) * value.detach()
            power[name] = power_decay * power[name] + (1 - power_decay) * value.detach()
    assert difference(trainer.averages.of[None], plain) < 1e-6
    assert difference(trainer.averages.of[0.1], power) < 1e-5
    assert difference(plain, power) > 1e-4


@pytest.mark.parametrize(
    ("warmup", "step", "expected"),
    [
        # TensorFlow's ExponentialMovingAverage(decay, num_updates): min(decay, (1 + n) / (10 + n)).
        (True, 1, 2 / 11),
        (True, 1789, 1790 / 1799),
        (True, 1790, 0.995),
        # Ho et al. 2020, in their program: 1e-10 at the first step, then the decay.
        (False, 1, 0.0),
        (False, 2, 0.995),
    ],
)
def test_the_decay_of_a_step_is_that_of_its_source(warmup, step, expected):
    assert exponential_decay(0.995, step, warmup) == pytest.approx(expected, rel=1e-12)


def test_without_warmup_the_average_begins_as_the_weights_after_the_first_step(tmp_path):
    trainer = small_trainer(tmp_path, small_stage(ema_decay=0.9, ema_warmup=False))
    trainer.train_one_step()
    plain = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    assert difference(trainer.averages.of[None], plain) == 0
    for _ in range(5):
        trainer.train_one_step()
        for name, value in trainer.parameters.items():
            plain[name] = 0.9 * plain[name] + 0.1 * value.detach()
    assert difference(trainer.averages.of[None], plain) < 1e-6


def test_a_power_function_average_has_the_width_it_is_named_for():
    from ddpm_bench.training.ema import power_decay

    # The share of each step's weights in the average after T steps, as a distribution of t / T.
    steps = 4000
    for sigma_rel in (0.05, 0.1, 0.2):
        shares = np.zeros(steps)
        for step in range(1, steps + 1):
            decay = power_decay(sigma_rel, step)
            shares *= decay
            shares[step - 1] = 1 - decay
        times = (np.arange(steps) + 0.5) / steps
        mean = (shares * times).sum()
        width = math.sqrt((shares * (times - mean) ** 2).sum())
        assert math.isclose(shares.sum(), 1.0, rel_tol=1e-9)
        assert math.isclose(width, sigma_rel, rel_tol=5e-3)
