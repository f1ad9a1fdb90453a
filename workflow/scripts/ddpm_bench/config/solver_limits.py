"""Limits of solvers and schedules: combinations that are refused, and one that earns a note."""

import itertools
import math
from collections.abc import Iterator

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.noise_levels import (
    LEAST_SIGNAL,
    alphas_cumprod,
    karras_sigmas,
    sigmas_of,
    terminal_snr,
    usable_timesteps,
    visited_sigmas,
)
from ddpm_bench.config.sampling import Drawing, expanded_timesteps

# Standard deviations of data, along any direction among the pixels, for which heun is judged.
DEVIATIONS = tuple(0.01 * 2 ** (power / 3) for power in range(32))  # up to 12.9
MOST_WIDENING = 1.5
MOST_STEPS_JUDGED = 10_000  # judging more would take seconds
# Above that of Rombach et al. 2022, 0.0047; linear ends at 0.00004.
GREATEST_TERMINAL_SNR = 0.01


def widening_of_heun(sigmas: list[float]) -> float:
    """Return how many times too wide Heun's method draws normal data, at worst.

    The ratio of the standard deviation of its samples to that of the data, the greatest over
    `DEVIATIONS`. For normal data dx/dsigma = sigma x / (s^2 + sigma^2) (Karras et al. 2022, eq. 3),
    so each step multiplies x by a number.
    """
    return max(_widened(sigmas, deviation) / deviation for deviation in DEVIATIONS)


def _widened(sigmas: list[float], deviation: float) -> float:
    """Return the standard deviation of Heun's samples of normal data of this one."""
    variance = deviation**2
    image = math.sqrt(variance + sigmas[0] ** 2)
    for sigma, following in itertools.pairwise(sigmas):
        step = following - sigma
        slope, at_end = sigma / (variance + sigma**2), following / (variance + following**2)
        image *= 1.0 + step / 2 * (slope + at_end * (1.0 + step * slope))
    return abs(image) * variance / (variance + sigmas[-1] ** 2)


def solver_misfits(drawing: Drawing, keys: Diffusion, in_latents: bool) -> Iterator[str]:
    """Yield a message if a set's solver is not defined or not stable for a process."""
    highest = max(expanded_timesteps(drawing.timesteps)) if drawing.timesteps else drawing.steps - 1
    if highest >= keys.timesteps:
        return  # reported as a contradiction between steps and timesteps
    usable = usable_timesteps(keys, in_latents)
    if not drawing.karras_spaced() and highest >= usable:
        given = f"timesteps has {highest}" if drawing.timesteps else f"steps = {drawing.steps}"
        yield (
            f"{given}: with pred_noise in latents, sampling on the {keys.beta_schedule} schedule "
            f"begins at timestep {usable - 1} at the highest, since the network's error is "
            f"multiplied beyond it, up to {_error_factor(keys):,.0f} times at the last one; take "
            f"timesteps up to {usable - 1} or at most {usable} steps, or objective pred_v"
        )
    elif drawing.scheduler == "heun" and 1 < drawing.solver_steps() <= MOST_STEPS_JUDGED:
        widening = widening_of_heun(visited_sigmas(drawing, keys, in_latents))
        if widening > MOST_WIDENING:
            yield (
                f"heun at these {drawing.solver_steps()} noise levels overshoots: it draws "
                f"normal data {widening:,.1f} times too wide; {_remedy(drawing, keys)}"
            )


def _error_factor(keys: Diffusion) -> float:
    """Return 1 / signal of the last timestep."""
    return 1.0 / math.sqrt(max(alphas_cumprod(keys)[-1], LEAST_SIGNAL**2))


def _remedy(drawing: Drawing, keys: Diffusion) -> str:
    """Return what draws without overshooting: the levels of Karras et al., or more of them."""
    sigmas = sigmas_of(keys)
    enough = next(
        steps
        for steps in itertools.count(2)
        if widening_of_heun(karras_sigmas(sigmas[0], sigmas[-1], steps)) <= MOST_WIDENING
    )
    levels = "" if drawing.karras_spaced() else " on the levels of karras_sigmas: true"
    return f"take {enough} steps or more{levels}, or dpmsolver++"


def start_note(drawing: Drawing, keys: Diffusion, in_latents: bool) -> str | None:
    """Return a note if a set begins far below the end of a schedule; else None."""
    snr = visited_sigmas(drawing, keys, in_latents)[0] ** -2
    if snr <= GREATEST_TERMINAL_SNR:
        return None
    return (
        f"begins at a timestep with a signal-to-noise ratio of {snr:.2g}, but with noise alone, "
        "which the network never saw there: samples lack contrast and brightness (Lin et al. "
        "2024). Begin at the last timestep, as timestep_spacing: trailing does"
    )


def noise_note(keys: Diffusion) -> str | None:
    """Return a note if sampling begins at noise that training never sees; else None."""
    snr = terminal_snr(keys)
    if snr <= GREATEST_TERMINAL_SNR:
        return None
    return (
        f"the last of {keys.timesteps:,} timesteps of the {keys.beta_schedule} schedule has a "
        f"signal-to-noise ratio of {snr:.2g}, but sampling begins at noise alone, which training "
        "never sees: samples lack contrast and brightness (Lin et al. 2024). Set "
        "diffusion.rescale_zero_terminal_snr: true with pred_v or pred_x0, a higher beta_end, or "
        "more timesteps"
    )
