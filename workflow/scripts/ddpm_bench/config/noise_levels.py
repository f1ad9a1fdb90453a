"""Noise levels of a schedule that a set of samples visits, in plain Python.

The config is checked with them before anything runs. A level is x = signal x_0 + spread eps with
signal^2 + spread^2 = 1 (Ho et al. 2020, eq. 4); its sigma is spread / signal (Karras et al. 2022,
table 1).
"""

import math
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.sampling import Drawing, expanded_timesteps

# Its sigma is 65,536: a step from there to 0 in float32 has an error below half a grey level.
LEAST_SIGNAL = 2.0**-16
KARRAS_RHO, KARRAS_HIGHEST = 7.0, 80.0  # Karras et al. 2022, table 1
GREATEST_BETA = 0.999  # of cosine and sigmoid in denoising-diffusion-pytorch

# An estimate of x_0 from the noise has the network's error times spread / signal. Images are
# clipped, but nothing bounds latents. At this log(signal / spread) the factor is 245, a little
# more than at the end of the linear schedule of Ho et al. (-5.06; diffusers' pipelines set
# lambda_min_clipped to -5.1).
LEAST_LOG_SIGNAL_TO_SPREAD = -5.5


@lru_cache(maxsize=8)
def alphas_cumprod(keys: Diffusion) -> Sequence[float]:
    """Return the products of 1 - beta up to each timestep, T of them, as models.diffusion has them.

    A test holds the two together. Formulas: see `models.diffusion.noise_schedule`.
    """
    product, products = 1.0, array("d")
    for beta in _betas(keys):
        product *= 1.0 - beta
        products.append(product)
    if not keys.rescale_zero_terminal_snr:
        return products
    roots = [math.sqrt(value) for value in products]
    first, last = roots[0], roots[-1]
    return array("d", [((root - last) * first / (first - last)) ** 2 for root in roots])


def _betas(keys: Diffusion) -> Iterator[float]:
    """Yield the variances of the forward process before any rescaling."""
    total = keys.timesteps
    if keys.beta_schedule in ("linear", "scaled_linear"):
        start, end = keys.ends()
        power = 1 if keys.beta_schedule == "linear" else 2
        start, end = start ** (1 / power), end ** (1 / power)
        for time in range(total):
            yield (start + (end - start) * time / (total - 1)) ** power
        return
    form = _cosine if keys.beta_schedule == "cosine" else _sigmoid
    for time in range(total):
        kept = form((time + 1) / total) / form(time / total)
        yield min(max(1.0 - kept, 0.0), GREATEST_BETA)


def _cosine(part: float) -> float:
    """Return abar, up to a factor, after this part of the process (Nichol & Dhariwal, eq. 17)."""
    return math.cos((part + 0.008) / 1.008 * math.pi / 2) ** 2


def _sigmoid(part: float) -> float:
    """Return abar, up to a factor, after this part of the process (Jabri et al. 2022, figure 8)."""
    return 1.0 / (1.0 + math.exp(6.0 * part - 3.0)) - 1.0 / (1.0 + math.exp(3.0))


def terminal_snr(keys: Diffusion) -> float:
    """Return the signal-to-noise ratio of the last timestep, a ratio of variances."""
    last = alphas_cumprod(keys)[-1]
    return last / (1.0 - last)


def usable_timesteps(keys: Diffusion, in_latents: bool) -> int:
    """Return how many timesteps, from the first one on, sampling may begin at.

    All of them, but for a network that predicts the noise of latents only those whose log(signal /
    spread) is at least -5.5.
    """
    if not in_latents or keys.objective != "pred_noise":
        return keys.timesteps
    least = 1.0 / (1.0 + math.exp(-2.0 * LEAST_LOG_SIGNAL_TO_SPREAD))
    return sum(value >= least for value in alphas_cumprod(keys))


def visited_timesteps(
    spacing: str, timesteps: int, steps: int, above_zero: bool = False
) -> list[int]:
    """Return the timesteps that a sampler visits, descending in 0 .. timesteps - 1.

    The spacings are those of Lin et al. 2024, table 2. above_zero: whether linspace and leading
    leave timestep 0 out and take as many above it, as diffusers' DPMSolverMultistepScheduler does.
    All timesteps are different for every steps <= timesteps. Computed in integers: with
    floating-point steps, some counts end in a timestep of -1.
    """
    if spacing == "trailing":  # from T down in equal steps to one step above 0
        return [rounded(timesteps * count, steps) - 1 for count in range(steps, 0, -1)]
    lowest = 1 if above_zero and steps < timesteps else 0
    counts = range(steps - 1 + lowest, lowest - 1, -1)
    if spacing == "leading":  # whole strides up from 0
        return [count * (timesteps // (steps + lowest)) for count in counts]
    if len(counts) + lowest == 1:
        return [timesteps - 1]
    return [rounded((timesteps - 1) * count, steps - 1 + lowest) for count in counts]


def rounded(numerator: int, denominator: int) -> int:
    """Return the quotient of two non-negative integers, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def times_of(drawing: Drawing, usable: int) -> list[int]:
    """Return the timesteps of a set that does not take the levels of Karras et al., descending.

    usable: how many timesteps there are to begin at. dpmsolver++ and unipc leave out timestep 0
    where diffusers' own spacing does: a second-order step to it would overshoot.
    """
    if drawing.timesteps is not None:
        return expanded_timesteps(drawing.timesteps)
    above_zero = drawing.scheduler in ("dpmsolver++", "unipc")
    return visited_timesteps(drawing.timestep_spacing, usable, drawing.steps, above_zero)


def karras_sigmas(lowest: float, highest: float, steps: int) -> list[float]:
    """Return sigmas evenly spaced in sigma^(1/7), descending (Karras et al. 2022, eq. 5, table 1).

    They go from 80, or the schedule's highest sigma if that is lower, to its lowest.
    """
    top = min(highest, KARRAS_HIGHEST) ** (1 / KARRAS_RHO)
    step = (lowest ** (1 / KARRAS_RHO) - top) / max(steps - 1, 1)
    return [(top + step * count) ** KARRAS_RHO for count in range(steps)]


def sigmas_of(keys: Diffusion) -> list[float]:
    """Return the sigma of each timestep, ascending; 65,536 where nothing is left of the image."""
    floor = LEAST_SIGNAL**2
    return [math.sqrt(1.0 / max(value, floor) - 1.0) for value in alphas_cumprod(keys)]


def visited_sigmas(drawing: Drawing, keys: Diffusion, in_latents: bool) -> list[float]:
    """Return the sigmas of the levels that a set visits, descending; the image's 0 is left out."""
    sigmas = sigmas_of(keys)
    if drawing.karras_spaced():
        return karras_sigmas(sigmas[0], sigmas[-1], drawing.steps)
    return [sigmas[time] for time in times_of(drawing, usable_timesteps(keys, in_latents))]
