"""Density and coverage: precision and recall that outliers of either side do not spoil.

Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models", equations 4 and
5, with the open balls of the authors' own code (github.com/clovaai/generative-evaluation-prdc).
"""

import numpy as np
import torch

from ddpm_bench.distances import distance_blocks, neighbour_distance


def density_and_coverage(
    generated: np.ndarray, real: np.ndarray, neighborhood: int
) -> tuple[float, float]:
    """Both scores of generated features [M, D] against real ones [N, D], float32; k < N.

    Each real image has a ball that reaches to its k-th nearest real neighbour. Density is the mean
    number of balls that a generated image lies in, over k: 1 is expected of the real distribution,
    and more is possible. Coverage is the share of balls that hold a generated image.
    """
    radius = torch.from_numpy(neighbour_distance(real, neighborhood))
    inside = 0
    covered = torch.zeros(len(real), dtype=torch.bool)
    for _, distances in distance_blocks(generated, real):
        within = distances < radius
        inside += int(within.sum())
        covered |= within.any(dim=0)
    return inside / (neighborhood * len(generated)), covered.float().mean().item()
