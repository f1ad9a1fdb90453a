"""Solvers: steps from noise to an image, by estimates of the clean image at each noise level.

Every noise level is x = signal x_0 + spread eps with signal^2 + spread^2 = 1 (Ho et al. 2020, eq.
4), and the network is evaluated on images of this scale. The visited levels are chosen in
config/noise_levels.py; the steps between them are those of diffusers' schedulers, except for ddim,
whose scheduler there can only step by T // steps.
"""

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from unittest import mock

import diffusers
import numpy as np
import torch
from diffusers import SchedulerMixin

from ddpm_bench.config.noise_levels import LEAST_SIGNAL, karras_sigmas, times_of
from ddpm_bench.config.sampling import Drawing

# A step of a multistep solver that is this many times as long as the one before, in log sigma,
# takes the first order: a slope over a short step, carried on over a long one, overshoots.
LONGEST_STEP = 3.0


@dataclass(frozen=True)
class Level:
    """Noise level: the factors of image and noise, and its timestep.

    The timestep is a fraction if the level lies between those of two timesteps.
    """

    time: float
    signal: float
    spread: float

    @property
    def sigma(self) -> float:
        """Noise of x / signal, that is of x_0 + sigma eps (Karras et al. 2022, table 1)."""
        return self.spread / self.signal


CLEAN = Level(-1.0, 1.0, 0.0)

# From images at a level to the network's estimate of the clean ones, both float32 [N, C, H, W].
Estimate = Callable[[torch.Tensor, Level], torch.Tensor]
# The images after each solver step, and the step's last estimate of the clean ones.
Steps = Iterator[tuple[torch.Tensor, torch.Tensor]]


def solve(
    drawing: Drawing,
    betas: np.ndarray,
    estimate: Estimate,
    noise: torch.Tensor,
    generators: Sequence[torch.Generator],
    bounded: bool = True,
    usable: int | None = None,
) -> Steps:
    """Lead noise to images; yield after each solver step.

    betas: float64 [T]; noise: float32 [N, C, H, W], standard normal, the images at the first level;
    generators: one per image, for the solvers that add noise; bounded: whether images lie in [-1,
    1], to which estimates are then clipped, as in denoising-diffusion-pytorch: close to pure noise
    an estimate from predicted noise is the network's error times 1 / signal. Latents are not
    bounded. usable: how many timesteps there are to begin at (`noise_levels.usable_timesteps`);
    None: all.
    """
    levels = visited_levels(drawing, betas, usable)
    if bounded:
        estimate = clipped(estimate)
    if drawing.scheduler == "ddim":
        return ddim_steps(levels, drawing.eta, estimate, noise, generators)
    if drawing.scheduler == "ddpm":
        scheduler = ddpm_scheduler(levels, betas, drawing.variance or "fixed-small")
    else:
        scheduler = sigma_scheduler(drawing, levels, len(betas))
    return scheduler_steps(scheduler, levels, estimate, noise, generators)


def clipped(estimate: Estimate) -> Estimate:
    """Return the function with its estimates clipped to [-1, 1]."""
    return lambda noised, level: estimate(noised, level).clamp(-1.0, 1.0)


def visited_levels(drawing: Drawing, betas: np.ndarray, usable: int | None = None) -> list[Level]:
    """Return the noise levels that a set visits, descending.

    The last step goes from the last level to the image. betas: float64 [T]; usable: how many
    timesteps there are to begin at; None: all.
    """
    if drawing.karras_spaced():
        return karras_levels(betas, drawing.steps)
    alphas_cumprod = signal_powers(betas)
    times = times_of(drawing, usable or len(betas))
    return [level_at(time, alphas_cumprod[time]) for time in times]


def level_at(time: float, alpha_cumprod: float) -> Level:
    """Return the level of a timestep with this product of 1 - beta."""
    return Level(float(time), float(alpha_cumprod) ** 0.5, (1.0 - float(alpha_cumprod)) ** 0.5)


def signal_powers(betas: np.ndarray) -> np.ndarray:
    """Return the products of 1 - beta up to each timestep, float64 [T], kept away from 0.

    A schedule may end in noise alone, where sigma would be infinite. All levels stay different: the
    floor is up to twice as high for earlier timesteps.
    """
    floor = LEAST_SIGNAL**2 * (2.0 - np.arange(len(betas)) / len(betas))
    return np.maximum(np.cumprod(1.0 - betas), floor)


def karras_levels(betas: np.ndarray, steps: int) -> list[Level]:
    """Return the levels of Karras et al. 2022, eq. 5, descending.

    The timestep of each is interpolated in log sigma.
    """
    sigmas = np.sqrt(1.0 / signal_powers(betas) - 1.0)
    chosen = np.array(karras_sigmas(sigmas[0], sigmas[-1], steps))
    times = np.interp(np.log(chosen), np.log(sigmas), np.arange(len(sigmas)))
    return [
        level_at(time, 1.0 / (1.0 + sigma**2)) for time, sigma in zip(times, chosen, strict=True)
    ]


def first_order_steps(levels: Sequence[Level]) -> set[int]:
    """Return the numbers, from 0, of the steps that a multistep solver takes with the first order.

    They are those much longer than the one before (`LONGEST_STEP`). The last step, to the image,
    has the first order in diffusers' solvers anyway.
    """
    lengths = [
        math.log(level.sigma / following.sigma) for level, following in itertools.pairwise(levels)
    ]
    return {
        number
        for number, (before, length) in enumerate(itertools.pairwise(lengths), 1)
        if length > LONGEST_STEP * before
    }


def ddim_steps(
    levels: list[Level],
    eta: float,
    estimate: Estimate,
    images: torch.Tensor,
    generators: Sequence[torch.Generator],
) -> Steps:
    """Step as Song et al. 2021, eq. 12, with the noise of eq. 16.

    eta 0 adds none, eta 1 as much as DDPM. The direction to x_t is computed from the estimate.
    """
    for level, following in itertools.pairwise([*levels, CLEAN]):
        clean = estimate(images, level)
        direction = (images - level.signal * clean) / level.spread
        added = eta * ddpm_noise(level, following)
        images = following.signal * clean
        images = images + (following.spread**2 - added**2) ** 0.5 * direction
        if added:
            images = images + added * fresh_noise(images.shape, generators, images.device)
        yield images, clean


def ddpm_noise(level: Level, following: Level) -> float:
    """Return the standard deviation of the noise that a step of DDPM adds.

    It is sigma of Song et al. 2021, eq. 16, with eta 1.
    """
    kept = (level.signal / following.signal) ** 2
    return following.spread / level.spread * (1.0 - kept) ** 0.5


def fresh_noise(
    shape: Sequence[int], generators: Sequence[torch.Generator], device: torch.device
) -> torch.Tensor:
    """Draw standard normal noise, float32 [N, C, H, W], each image's from its own generator.

    The generators are on the CPU. A GPU copies the noise from pinned memory when it has computed
    what was asked of it before, and the CPU goes on; from other memory the CPU would wait for it.
    """
    noise = torch.empty(tuple(shape), pin_memory=device.type == "cuda")
    for image, generator in zip(noise, generators, strict=True):
        torch.randn(image.shape, generator=generator, out=image)
    return noise.to(device, non_blocking=True)


def ddpm_scheduler(levels: list[Level], betas: np.ndarray, variance: str) -> SchedulerMixin:
    """Return a scheduler for Ho et al. 2020, eq. 7, between the visited timesteps.

    variance: fixed-small, that of eq. 7, or fixed-large, 1 - abar_t / abar_(t-1) in its place.
    """
    scheduler = diffusers.DDPMScheduler(
        len(betas),
        trained_betas=betas,
        prediction_type="sample",
        clip_sample=False,
        variance_type=variance.replace("-", "_"),
    )
    scheduler.alphas_cumprod = torch.from_numpy(signal_powers(betas))
    scheduler.set_timesteps(timesteps=[int(level.time) for level in levels])
    return scheduler


def sigma_scheduler(drawing: Drawing, levels: list[Level], timesteps: int) -> SchedulerMixin:
    """Return a solver that steps from sigma to sigma.

    dpmsolver++: Lu et al. 2022, multistep; unipc: Zhao et al. 2023, with its corrector; euler and
    heun: Karras et al. 2022, algorithm 2 without noise; euler-ancestral: k-diffusion's. timesteps:
    those of the forward process.
    """
    order = {"solver_order": drawing.solver_order or 2}
    kind, options = {
        "dpmsolver++": (diffusers.DPMSolverMultistepScheduler, order),
        "unipc": (diffusers.UniPCMultistepScheduler, order),
        "euler": (diffusers.EulerDiscreteScheduler, {}),
        "euler-ancestral": (diffusers.EulerAncestralDiscreteScheduler, {}),
        "heun": (diffusers.HeunDiscreteScheduler, {}),
    }[drawing.scheduler]
    prediction = "v_prediction" if drawing.scheduler == "euler-ancestral" else "sample"
    scheduler = kind(timesteps, prediction_type=prediction, **options)
    scheduler.set_timesteps(len(levels))
    # Not every scheduler takes a list of timesteps, and their own spacings differ.
    sigmas = torch.tensor([*(level.sigma for level in levels), 0.0], dtype=torch.float64)
    times = torch.tensor([level.time for level in levels])
    if drawing.scheduler == "heun":  # evaluates the network twice in each step but the last
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
        times = torch.cat([times[:1], times[1:].repeat_interleave(2)])
    scheduler.sigmas, scheduler.timesteps = sigmas, times
    scheduler.set_begin_index(0)  # or it searches the first timestep, which the list may hold twice
    return scheduler


def scheduler_steps(
    scheduler: SchedulerMixin,
    levels: list[Level],
    estimate: Estimate,
    noise: torch.Tensor,
    generators: Sequence[torch.Generator],
) -> Steps:
    """Step through these levels with one of diffusers' schedulers; yield after each step.

    The last step of ddpm adds no noise (Ho et al. 2020, algorithm 2), which diffusers' does where
    the last timestep is above 0.
    """
    evaluates_twice = isinstance(scheduler, diffusers.HeunDiscreteScheduler)
    evaluated = levels if not evaluates_twice else [levels[0], *np.repeat(levels[1:], 2)]
    following = iter([*levels[1:], CLEAN])
    images = noise / scale(scheduler, levels[0])
    restarts = first_order_steps(levels) if isinstance(scheduler, MULTISTEP) else set()
    for number, (level, time) in enumerate(zip(evaluated, scheduler.timesteps, strict=True), 1):
        noised = scheduler.scale_model_input(images, time)
        clean = estimate(noised, level)
        given = clean
        if scheduler.config.prediction_type == "v_prediction":  # Salimans & Ho 2022, section 4
            given = (level.signal * noised - clean) / level.spread
        if number - 1 in restarts:
            scheduler.lower_order_nums = 0  # as in the first step, which has no step before it
        images = stepped(scheduler, given, time, images, generators)
        if isinstance(scheduler, diffusers.DDPMScheduler) and number == len(levels):
            images = clean
        if not evaluates_twice or number % 2 == 0 or number == len(evaluated):
            yield images * scale(scheduler, next(following)), clean


def stepped(
    scheduler: SchedulerMixin,
    given: torch.Tensor,
    time: torch.Tensor,
    images: torch.Tensor,
    generators: Sequence[torch.Generator],
) -> torch.Tensor:
    """Return the images after a step of a scheduler, with noise of `fresh_noise` where it adds any.

    diffusers draws the same numbers of the same generators, but waits at each step for the GPU.
    """
    if not adds_noise(scheduler):
        return scheduler.step(given, time, images).prev_sample

    def noise(*_: object, **__: object) -> torch.Tensor:
        return fresh_noise(images.shape, generators, images.device)

    # Not there in another version of diffusers, it is not called, and diffusers draws.
    module = sys.modules[type(scheduler).__module__]
    with mock.patch.object(module, "randn_tensor", noise, create=True):
        return scheduler.step(given, time, images, generator=list(generators)).prev_sample


MULTISTEP = (diffusers.DPMSolverMultistepScheduler, diffusers.UniPCMultistepScheduler)
ON_THE_SIGMA_SCALE = (
    diffusers.EulerDiscreteScheduler,
    diffusers.EulerAncestralDiscreteScheduler,
    diffusers.HeunDiscreteScheduler,
)


def scale(scheduler: SchedulerMixin, level: Level) -> float:
    """Return the factor from a scheduler's images at a level to the scale of this module."""
    return level.signal if isinstance(scheduler, ON_THE_SIGMA_SCALE) else 1.0


def adds_noise(scheduler: SchedulerMixin) -> bool:
    """Return whether a scheduler draws noise in its steps."""
    return isinstance(
        scheduler, diffusers.DDPMScheduler | diffusers.EulerAncestralDiscreteScheduler
    )
