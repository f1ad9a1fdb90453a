"""Precision and recall, density and coverage: overlap of the manifolds of two sets of images.

A point is in the manifold of a set of images if it is as near to one of them as that image's k-th
nearest other image of the set is. Precision and recall: Kynkäänniemi et al. 2019, "Improved
Precision and Recall Metric for Assessing Generative Models". Density and coverage, which are robust
against outliers of either side: Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for
Generative Models", equations 4 and 5, with the open balls of the authors' code
(clovaai/generative-evaluation-prdc).
"""

import numpy as np
import torch
from torch_fidelity.metric_prc import (
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

from ddpm_bench.scoring.metrics.neighbours import distance_blocks, neighbour_distance

# Largest side, in images, for torch-fidelity's function, which holds all distances in memory:
# 100 MB for each pair of sides.
LARGEST_MATRIX = 5000


def precision_and_recall(
    generated: np.ndarray, real: np.ndarray, neighborhood: int
) -> tuple[float, float]:
    """Return the fractions of generated images in the real manifold, and of real in the generated.

    generated, real: features [M, D] and [N, D], float32; neighborhood: k < M and k < N.
    """
    if max(len(generated), len(real)) > LARGEST_MATRIX:
        return _in_blocks(generated, real, neighborhood)
    found = prc_features_to_metric(
        torch.from_numpy(generated),
        torch.from_numpy(real),
        prc_neighborhood=neighborhood,
        verbose=False,
    )
    return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]


def _in_blocks(generated: np.ndarray, real: np.ndarray, neighborhood: int) -> tuple[float, float]:
    """Compute precision and recall from a block of distances at a time.

    torch-fidelity can do so too (`save_cpu_ram`), with half a gigabyte or twice the time of this.
    """
    real_radius = torch.from_numpy(neighbour_distance(real, neighborhood))
    generated_radius = torch.from_numpy(neighbour_distance(generated, neighborhood))
    precise = 0
    recalled = torch.zeros(len(real), dtype=torch.bool)
    for block, distances in distance_blocks(generated, real):
        precise += int((distances <= real_radius).any(dim=1).sum())
        recalled |= (distances <= generated_radius[block, None]).any(dim=0)
    return precise / len(generated), recalled.float().mean().item()


def density_and_coverage(
    generated: np.ndarray, real: np.ndarray, neighborhood: int
) -> tuple[float, float]:
    """Compute density and coverage of generated features [M, D] against real ones [N, D], float32.

    Each real image has a ball that reaches to its k-th nearest real neighbour, k < N. Density is
    the mean number of balls that a generated image lies in, over k: 1 is expected of the real
    distribution, and more is possible. Coverage is the fraction of balls that hold a generated
    image.
    """
    radius = torch.from_numpy(neighbour_distance(real, neighborhood))
    inside = 0
    covered = torch.zeros(len(real), dtype=torch.bool)
    for _, distances in distance_blocks(generated, real):
        within = distances < radius
        inside += int(within.sum())
        covered |= within.any(dim=0)
    return inside / (neighborhood * len(generated)), covered.float().mean().item()
