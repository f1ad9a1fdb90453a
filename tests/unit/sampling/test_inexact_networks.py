"""Solvers with networks that err, and errors of solvers against diffusers' run ordinarily.

Data are mixtures of normal distributions; the truth is DDIM with every timestep.
"""

import functools

import diffusers
import numpy as np
import pytest
import torch
from mixture import COUNT, IMAGES, LATENTS, NOISE, Mixture

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.noise_levels import usable_timesteps, visited_timesteps
from ddpm_bench.config.sampling import Drawing
from ddpm_bench.config.solver_limits import solver_misfits
from ddpm_bench.models.diffusion import noise_schedule
from ddpm_bench.sampling.solvers import Estimate, Level, solve

SCHEDULERS = ("ddpm", "ddim", "dpmsolver++", "unipc", "euler", "euler-ancestral", "heun")
SCHEDULES = ("linear", "scaled_linear", "cosine", "sigmoid")


def drawn(
    keys: Drawing, process: Diffusion, estimate: Estimate, in_latents: bool = False
) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(index) for index in range(COUNT)]
    betas = noise_schedule(process).numpy()
    usable = usable_timesteps(process, in_latents)
    for images, _ in solve(
        keys, betas, estimate, NOISE, generators, bounded=not in_latents, usable=usable
    ):
        last = images
    return last


@functools.cache
def truth(schedule: str, mixture: Mixture) -> torch.Tensor:
    every = Drawing(scheduler="ddim", steps=1000)
    return drawn(every, Diffusion(beta_schedule=schedule), mixture.estimate, in_latents=True)


def rmse(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return (ours - theirs).square().mean().sqrt().item()


@pytest.mark.parametrize("schedule", [*SCHEDULES, "rescaled"])
@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
@pytest.mark.parametrize("in_latents", [False, True], ids=["images", "latents"])
def test_a_network_that_errs_a_little_draws_nothing_far_outside_the_data(
    schedule, objective, in_latents
):
    """An estimate from predicted noise has the network's error times up to 20,000 at first."""
    process = Diffusion(beta_schedule=schedule, objective=objective) if schedule in SCHEDULES else (
        Diffusion(
            beta_schedule="scaled_linear", timesteps=200, rescale_zero_terminal_snr=True,
            objective="pred_v" if objective == "pred_noise" else objective,
        )
    )  # fmt: skip
    mixture = LATENTS if in_latents else IMAGES
    estimate = mixture.erring(objective if schedule in SCHEDULES else process.objective, 0.03)
    for scheduler in SCHEDULERS:
        images = drawn(Drawing(scheduler=scheduler, steps=20), process, estimate, in_latents)
        largest = mixture.means.abs().max() + 4 * mixture.deviation
        assert images.abs().max() < largest, scheduler
        means = torch.cdist(images.flatten(1).double(), mixture.means).min(1).values
        assert means.mean() / 4 < 2 * mixture.deviation, f"{scheduler}: near no mode"


@pytest.mark.parametrize("steps", [20, 50, 100])
@pytest.mark.parametrize("variance", ["fixed-large", "fixed-small"])
def test_a_network_that_answers_flat_grey_leaves_no_noise(steps, variance):
    """Ho et al. 2020, algorithm 2: the last step adds none, wherever the timesteps end."""
    listed = Drawing(scheduler="ddpm", variance=variance, timesteps=(999, 500, 200, 50))
    for keys in (Drawing(scheduler="ddpm", variance=variance, steps=steps), listed):
        images = drawn(keys, Diffusion(beta_schedule="linear"), lambda noised, _: 0 * noised)
        assert images.std() == 0


ORDINARY = {
    "dpmsolver++": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
}


def drawn_by_diffusers(keys: Drawing, process: Diffusion, mixture: Mixture) -> torch.Tensor:
    """Run diffusers' scheduler with its own timesteps and noise levels."""
    betas = noise_schedule(process).numpy()
    order = {} if keys.scheduler == "heun" else {"solver_order": keys.solver_order or 2}
    spacing = {"timestep_spacing": keys.timestep_spacing, "use_karras_sigmas": keys.karras_spaced()}
    scheduler = ORDINARY[keys.scheduler](
        len(betas), trained_betas=betas, prediction_type="sample", **spacing, **order
    )
    scheduler.set_timesteps(keys.steps)
    scheduler.set_begin_index(0)
    images, on_sigmas = NOISE, keys.scheduler == "heun"
    sigmas = scheduler.sigmas.double().tolist()
    images = images * (1 + sigmas[0] ** 2) ** 0.5 if on_sigmas else images
    for sigma, time in zip(sigmas, scheduler.timesteps, strict=False):
        signal = (1 + sigma**2) ** -0.5
        level = Level(float(time), signal, signal * sigma)
        estimate = mixture.estimate(images * signal if on_sigmas else images, level)
        images = scheduler.step(estimate, time, images).prev_sample
    return images


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("scheduler", ORDINARY)
@pytest.mark.parametrize("spacing", ["trailing", "linspace", "leading", "karras"])
def test_errors_are_at_most_those_of_diffusers_run_ordinarily_or_the_set_is_refused(
    schedule, scheduler, spacing
):
    process = Diffusion(beta_schedule=schedule)
    levels = {"karras_sigmas": True} if spacing == "karras" else {"timestep_spacing": spacing}
    if (scheduler, spacing) == ("heun", "trailing"):
        levels = {"karras_sigmas": False}
    refused = []
    for steps in (2, 3, 5, 10, 20, 50):
        keys = Drawing(scheduler=scheduler, steps=steps, **levels)
        if any(solver_misfits(keys, process, in_latents=False)):
            refused.append(steps)
            continue
        ours = rmse(drawn(keys, process, IMAGES.estimate), truth(schedule, IMAGES))
        theirs = rmse(drawn_by_diffusers(keys, process, IMAGES), truth(schedule, IMAGES))
        assert ours < 1.05 * theirs + 0.003, steps
    if scheduler != "heun":
        assert refused == []
    elif spacing == "karras":
        assert set(refused) <= {2, 3, 5}


@pytest.mark.parametrize("scheduler", ["dpmsolver++", "unipc"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_listed_timesteps_that_end_in_0_do_not_overshoot(scheduler, order):
    """The step to timestep 0 is four to five times as long as the one before, in log sigma."""
    for schedule in SCHEDULES:
        for steps in (5, 10, 20, 40):
            listed = Drawing(
                scheduler=scheduler, solver_order=order,
                timesteps=visited_timesteps("linspace", 1000, steps),
            )  # fmt: skip
            euler = Drawing(scheduler="euler", timesteps=listed.timesteps)
            process = Diffusion(beta_schedule=schedule)
            error, first_order = (
                rmse(drawn(keys, process, IMAGES.estimate), truth(schedule, IMAGES))
                for keys in (listed, euler)
            )
            assert error < 1.1 * first_order, (schedule, steps)


def test_order_3_of_dpmsolver_does_not_err_less_in_general():
    """The description of `solver_order` names these factors."""
    normal = Mixture(torch.zeros(1, 16).double(), 0.2)
    for schedule, steps, levels in (
        ("linear", 160, {}), ("cosine", 80, {}), ("linear", 10, {"karras_sigmas": True}),
    ):  # fmt: skip
        process = Diffusion(beta_schedule=schedule)
        betas = noise_schedule(process).numpy()
        first = np.prod(1 - betas) if not levels else 1 / (1 + 80.0**2)
        exact = NOISE * 0.2 / (first * 0.2**2 + 1 - first) ** 0.5
        sets = [Drawing(steps=steps, solver_order=order, **levels) for order in (2, 3)]
        second, third = (rmse(drawn(keys, process, normal.estimate), exact) for keys in sets)
        assert 2 < third / second < 9
