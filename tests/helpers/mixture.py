"""A mixture of normal distributions, whose best estimate is a formula, and networks that err."""

from dataclasses import dataclass

import torch

from ddpm_bench.models.diffusion import implied_image
from ddpm_bench.sampling.solvers import Estimate, Level

SIDE, MODES, COUNT = 4, 6, 128  # images of 4 x 4 pixels
NOISE = torch.randn(COUNT, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


@dataclass(frozen=True)
class Mixture:
    """Equal shares of normal distributions: their means, float64 [modes, pixels], and deviation."""

    means: torch.Tensor
    deviation: float

    def estimate(self, noised: torch.Tensor, level: Level) -> torch.Tensor:
        """Return E[x_0 | x_t], float32 [N, 1, 4, 4]."""
        signal, variance = level.signal, (level.signal * self.deviation) ** 2 + level.spread**2
        offsets = noised.flatten(1).double()[:, None] - signal * self.means[None]
        shares = torch.softmax(-(offsets**2).sum(-1) / (2 * variance), 1)
        means = self.means + signal * self.deviation**2 / variance * offsets
        return (shares[..., None] * means).sum(1).reshape(noised.shape).to(noised)

    def erring(self, objective: str, error: float) -> Estimate:
        """Return the estimates of a network whose predictions err by about `error`."""
        generator = torch.Generator().manual_seed(3)
        errors = torch.randn(1, 1, SIDE, SIDE, generator=generator) * error

        def estimate(noised: torch.Tensor, level: Level) -> torch.Tensor:
            clean = self.estimate(noised, level)
            noise = (noised - level.signal * clean) / level.spread
            velocity = level.signal * noise - level.spread * clean
            exact = {"pred_x0": clean, "pred_noise": noise, "pred_v": velocity}[objective]
            return implied_image(
                objective,
                noised,
                level.signal,
                level.spread,
                exact + errors * torch.cos(3 * noised),
            )

        return estimate


def _uniform() -> torch.Tensor:
    return torch.rand(MODES, SIDE**2, generator=torch.Generator().manual_seed(1)).double()


IMAGES = Mixture(_uniform() * 1.4 - 0.7, 0.1)  # estimates stay within [-1, 1]
LATENTS = Mixture((_uniform() - 0.5) * 3.4, 0.3)  # of about unit deviation
