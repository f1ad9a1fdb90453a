"""Standard deviation of FID over the choice of images, by a bootstrap over both sides.

Fewer images than feature dimensions make FID too large (its covariances are rank-deficient), and a
resample, which holds about 63% of the images, more so. So only the spread of the resampled FIDs is
used, and never their level.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from tqdm import tqdm

from ddpm_bench.scoring.features.references import Reference

ROWS_AT_ONCE = 1024  # converted to float64


@dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of images in feature space; the covariance in one of two forms."""

    mu: np.ndarray  # float64 [D]
    trace: float  # of the covariance
    factor: np.ndarray | None  # float64 [n, D], n <= D: the covariance is factor^T factor
    sigma: np.ndarray | None  # float64 [D, D]


def fid_deviation(
    generated: np.ndarray, real: Reference, *, resamples: int, seed: int
) -> float | None:
    """Return the standard deviation of FID over resamples of the images, drawn with replacement.

    generated: features, float32 [N, D]. Published statistics, of which no images are known, are not
    resampled. None for fewer than two resamples.
    """
    if resamples < 2:
        return None
    held = published(real.mu, real.sigma) if real.features is None else real.features
    fids = list(resampled_fids(generated, held, resamples=resamples, seed=seed))
    return float(np.std(fids, ddof=1))


def resampled_fids(
    generated: np.ndarray, real: np.ndarray | Gaussian, *, resamples: int, seed: int
) -> Iterator[float]:
    """Yield FID of each resample.

    real: features [M, D], which are resampled too, or a Gaussian, which is not.
    """
    random = np.random.default_rng(seed)
    for _ in tqdm(range(resamples), desc="FID bootstrap", unit="resample", leave=False):
        one = gaussian(generated, draw(random, len(generated)))
        two = real if isinstance(real, Gaussian) else gaussian(real, draw(random, len(real)))
        yield frechet(one, two)


def draw(random: np.random.Generator, count: int) -> np.ndarray:
    """Draw how often each of `count` images is in a resample of as many, int64 [count]."""
    return np.bincount(random.integers(count, size=count), minlength=count)


def published(mu: np.ndarray, sigma: np.ndarray) -> Gaussian:
    """Return the Gaussian of statistics mu [D] and sigma [D, D] of which no images are known.

    It is factored once for all resamples.
    """
    return Gaussian(mu, float(np.trace(sigma)), factor=factored(sigma), sigma=None)


def gaussian(features: np.ndarray, times: np.ndarray) -> Gaussian:
    """Return the Gaussian of features [N, D], float32; the i-th counts `times[i]` times."""
    present = np.flatnonzero(times)
    weights = times[present].astype(np.float64)
    degrees = weights.sum() - 1
    if len(present) < features.shape[1]:
        rows = features[present].astype(np.float64)
        mu = weights @ rows / weights.sum()
        rows -= mu
        rows *= np.sqrt(weights / degrees)[:, None]
        return Gaussian(mu, float(np.vdot(rows, rows)), factor=rows, sigma=None)
    mu = np.zeros(features.shape[1])
    for rows, counted in _blocks(features, present, weights):
        mu += counted @ rows
    mu /= weights.sum()
    sigma = np.zeros((len(mu), len(mu)), order="F")
    for rows, counted in _blocks(features, present, weights):
        rows -= mu
        rows *= np.sqrt(counted / degrees)[:, None]
        # Half the work of a full product: only the upper triangle, added in place.
        sigma = scipy.linalg.blas.dsyrk(1.0, rows.T, beta=1.0, c=sigma, overwrite_c=True)
    sigma += np.triu(sigma, 1).T
    return Gaussian(mu, float(np.trace(sigma)), factor=None, sigma=sigma)


def _blocks(
    features: np.ndarray, present: np.ndarray, weights: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the present rows in float64 [n, D] with their weights [n], a part at a time."""
    for first in range(0, len(present), ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        yield features[present[part]].astype(np.float64), weights[part]


def frechet(one: Gaussian, two: Gaussian) -> float:
    """Return the Frechet distance of two Gaussians, Heusel et al. 2017."""
    apart = one.mu - two.mu
    return float(apart @ apart + one.trace + two.trace - 2 * trace_of_root(one, two))


def trace_of_root(one: Gaussian, two: Gaussian) -> float:
    """Return Tr((S_1 S_2)^(1/2)): the sum of the roots of the eigenvalues of S_1 S_2.

    With S_1 = A^T A those are, except for zeros, the eigenvalues of A S_2 A^T: symmetric, with as
    many rows as A. So a problem of few images is small, however many dimensions they have.
    """
    if one.factor is None and two.factor is not None:
        one, two = two, one
    factor = factored(one.sigma) if one.factor is None else one.factor
    if two.factor is None:
        return roots_sum(factor @ two.sigma @ factor.T)
    cross = factor @ two.factor.T
    return roots_sum(cross @ cross.T if cross.shape[0] < cross.shape[1] else cross.T @ cross)


def factored(sigma: np.ndarray) -> np.ndarray:
    """Return A [D, D] with A^T A = sigma, which is positive semi-definite."""
    try:
        return scipy.linalg.cholesky(sigma)
    except scipy.linalg.LinAlgError:  # singular; this takes 20 times as long
        values, vectors = scipy.linalg.eigh(sigma)
        return np.sqrt(values.clip(0))[:, None] * vectors.T


def roots_sum(matrix: np.ndarray) -> float:
    """Return the sum of the roots of the eigenvalues of a symmetric positive semi-definite matrix.

    Eigenvalues that are zero come out as rounding noise of either sign.
    """
    values = scipy.linalg.eigvalsh(matrix)
    return float(np.sqrt(values.clip(0)).sum())
