"""FID from statistics of features, computed by the package whose FID it has to equal.

Both compute |mu_1 - mu_2|^2 + Tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)), Heusel et al. 2017, in float64.
"""

import contextlib
import io
import warnings
from collections.abc import Callable

import numpy as np
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

from ddpm_bench.scoring.features.references import Backend, Reference

# mu_1 [D], sigma_1 [D, D], mu_2, sigma_2, all float64.
FrechetDistance = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], float]


def fidelity_distance(
    mu_1: np.ndarray, sigma_1: np.ndarray, mu_2: np.ndarray, sigma_2: np.ndarray
) -> float:
    """Compute torch-fidelity's distance: the root's trace from the eigenvalues of the product."""
    statistics = {"mu": mu_1, "sigma": sigma_1}, {"mu": mu_2, "sigma": sigma_2}
    return fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]


def pytorch_fid_distance(
    mu_1: np.ndarray, sigma_1: np.ndarray, mu_2: np.ndarray, sigma_2: np.ndarray
) -> float:
    """Compute pytorch-fid's distance: from the matrix root itself, several times slower.

    If the root is not finite, pytorch-fid adds 1e-6 to the diagonals of the covariances and prints
    a message; if the root is complex it raises ValueError, and the result here is NaN: there is no
    FID of pytorch-fid's to equal. Between singular covariances, of fewer images than dimensions or
    of units that are always zero, both distances are equal to 1e-8.
    """
    from pytorch_fid.fid_score import calculate_frechet_distance

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # sqrtm of scipy warns that 1.18 will not have disp=False (pyproject.toml stays below), and
        # that a product is singular, as the product of few images always is.
        warnings.simplefilter("ignore")
        try:
            return float(calculate_frechet_distance(mu_1, sigma_1, mu_2, sigma_2))
        except ValueError:
            return float("nan")


DISTANCES: dict[str, FrechetDistance] = {
    "torch-fidelity": fidelity_distance,
    "pytorch-fid": pytorch_fid_distance,
}


def fid(generated: Reference, real: Reference, backend: Backend) -> float:
    """Compute FID of two sides of two images or more, from their statistics."""
    return DISTANCES[backend](generated.mu, generated.sigma, real.mu, real.sigma)
