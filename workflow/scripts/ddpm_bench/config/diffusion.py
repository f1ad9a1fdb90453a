"""`diffusion:`, the forward process and the quantity that the network predicts."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from ddpm_bench.config.block import Block, ForwardSteps

WITH_ENDS = ("linear", "scaled_linear")
LEAST_BETA = 1e-8  # 1 - beta is 1 in float32


class Diffusion(Block):
    """The forward process and the quantity that the network predicts."""

    timesteps: ForwardSteps = Field(1000, ge=2, description="Steps of the forward process.")
    objective: Literal["pred_noise", "pred_x0", "pred_v"] = Field(
        "pred_v",
        description="Quantity that the network predicts: the noise, the image (Ho et al. 2020) "
        "or v (Salimans & Ho 2022).",
    )
    beta_schedule: Literal["linear", "cosine", "sigmoid", "scaled_linear"] = Field(
        "sigmoid",
        description="Schedule of the betas: Ho 2020, Nichol & Dhariwal 2021, Jabri 2022, Rombach "
        "2022 (linear in the square root).",
    )
    beta_start: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="First beta of linear and scaled_linear; null: 0.1 / timesteps for linear, "
        "0.00085 for scaled_linear.",
    )
    beta_end: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Last beta of linear and scaled_linear; null: 20 / timesteps for linear, "
        "0.012 for scaled_linear.",
    )

    rescale_zero_terminal_snr: bool = Field(
        False,
        description="Rescale the schedule so that nothing of the image is left at its end, where "
        "sampling begins (Lin et al. 2024, algorithm 1). For pred_v and pred_x0, whose error then "
        "has the weight SNR + 1 in units of the image's (Salimans & Ho 2022, section 4), 1 for v.",
    )

    def problems(self) -> Iterator[str]:
        if self.rescale_zero_terminal_snr and self.objective == "pred_noise":
            yield (
                "rescale_zero_terminal_snr: nothing of the image is left at the last timestep, so "
                "the noise there says nothing about it; set objective: pred_v (Lin et al. 2024, "
                "section 3.2) or pred_x0"
            )
        start, end = self.ends()
        if self.beta_schedule not in WITH_ENDS:
            for name in ("beta_start", "beta_end"):
                if getattr(self, name) is not None:
                    yield f"{name} is an option of {' and '.join(WITH_ENDS)}; remove it"
        elif start < LEAST_BETA:
            yield (
                f"beta_start = {start:g} adds no noise; take {LEAST_BETA:g} or more, or fewer "
                "timesteps"
            )
        elif not start < end < 1:
            yield (
                f"beta_start = {start:g} must be below beta_end = {end:g}, and that below 1; "
                "give both, or more timesteps"
            )

    def schedule_name(self) -> str:
        """Return the schedule in words, like "linear betas rescaled to zero terminal SNR"."""
        rescaled = " rescaled to zero terminal SNR" if self.rescale_zero_terminal_snr else ""
        return f"{self.beta_schedule} betas{rescaled}"

    def ends(self) -> tuple[float, float]:
        """Return first and last beta of a linear or scaled_linear schedule.

        Defaults: those of Ho et al. 2020 scaled to the length (0.0001 and 0.02 at 1,000 timesteps),
        or those of Rombach et al. 2022.
        """
        if self.beta_schedule == "linear":
            usual = (0.1 / self.timesteps, 20 / self.timesteps)
        else:
            usual = (0.00085, 0.012)
        start = usual[0] if self.beta_start is None else self.beta_start
        return start, usual[1] if self.beta_end is None else self.beta_end
