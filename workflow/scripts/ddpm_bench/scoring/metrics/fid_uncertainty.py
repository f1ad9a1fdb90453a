"""Standard deviation of FID over the choice of images: the jackknife, from FID's derivatives.

FID is a function of means and covariances, so its variance follows from how it changes with each
image (its influence function) and with each pair of images. docs/scores.md has the derivation and
the simulations by which this estimate was chosen.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ddpm_bench.scoring.features.references import Reference

PAIRS = 2000
ROWS = 4096  # images that are converted to float64 at a time
# Eigenvalues below this share of the largest are rounding noise of zero.
LEAST_EIGENVALUE = 1e-10


@dataclass(frozen=True)
class Root:
    """L with L L^T the covariance of one side, and what takes its images into L's coordinates."""

    matrix: np.ndarray  # float64 [D, r]
    inverse: np.ndarray | None  # float64 [r, D]; None where L's columns are the images themselves


@dataclass(frozen=True)
class Side:
    """Images of one side, with their coordinates, of covariance diag(roots) on either side."""

    images: np.ndarray  # float32 [N, D]
    mu: np.ndarray  # float64 [D]
    projection: np.ndarray | None  # float64 [D, k], from centred images to coordinates
    coordinates: np.ndarray | None  # float64 [N, k], where these are known without a projection

    def at(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return the coordinates of some images, float64 [n, k]."""
        if self.coordinates is not None:
            return self.coordinates[rows]
        return (self.images[rows] - self.mu) @ self.projection

    def changes(self, apart: np.ndarray, roots: np.ndarray) -> np.ndarray:
        """Return N times the fall of FID without each image, float64 [N], up to a constant.

        apart: mean of this side less that of the other, float64 [D]. To second order: the influence
        function less H(x, x) / N.
        """
        count = len(self.images)
        found = []
        for first in range(0, count, ROWS):
            rows = slice(first, first + ROWS)
            centred = self.images[rows] - self.mu
            points = self.at(rows)
            influence = 2 * centred @ apart + _norms(centred) - _norms(points)
            found.append(influence - half_hessian(points, points, roots) / count)
        return np.concatenate(found)


def fid_deviation(generated: Reference, real: Reference, *, seed: int) -> float:
    """Return the standard deviation of FID over the choice of images of both sides.

    Published statistics, of which no images are known, are taken as they are. The variance is
    V1 - V2, or V1 / 2 where that is more. V1 is the jackknife's, from FID without each image; it
    holds the second order of the variance twice (Efron and Stein 1981, "The jackknife estimate of
    variance"). V2 is that second order, from the second derivative at random pairs of images.
    """
    first, second = generated, real
    if real.features is not None and len(real.features) < len(generated.features):
        first, second = real, generated
    sides, roots = transport(first, second)
    apart = first.mu - second.mu
    changes = [
        side.changes(sign * apart, roots) for side, sign in zip(sides, (1, -1), strict=False)
    ]
    jackknife = sum(float(values.var(ddof=1)) / len(values) for values in changes)
    second_order = _second_order(sides, roots, np.random.default_rng(seed))
    return float(np.sqrt(max(jackknife - second_order, jackknife / 2)))


def transport(first: Reference, second: Reference) -> tuple[list[Side], np.ndarray]:
    """Return those sides of which images are known, and the roots [k], whose sum is FID's trace.

    The roots squared are the eigenvalues of S_1 S_2, here those of the symmetric L^T S_2 L. With
    its eigenvectors U, an image x of the first side has the coordinates p = roots^(1/2) U^T L^-1 x,
    and one of the second, y, has q = roots^(-1/2) U^T L^T y. Then |p|^2 = x^T T x, where T is the
    optimal transport map from the first side to the second (Dowson and Landau 1982; Gelbrich 1990),
    and |q|^2 = y^T T^-1 y.
    """
    root = _root(first)
    values, vectors = scipy.linalg.eigh(root.matrix.T @ second.sigma @ root.matrix)
    kept = values > LEAST_EIGENVALUE * values[-1]
    roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
    if root.inverse is None:
        projection = None
        degrees = len(first.features) - 1
        coordinates = (vectors - vectors.mean(axis=0)) * np.sqrt(degrees * roots)
    else:
        projection = (root.inverse.T @ vectors) * np.sqrt(roots)
        coordinates = None
    sides = [Side(first.features, _mean(first.features), projection, coordinates)]
    if second.features is not None:
        back = (root.matrix @ vectors) / np.sqrt(roots)
        sides.append(Side(second.features, _mean(second.features), back, None))
    return sides, roots


def _root(side: Reference) -> Root:
    """Return a root of a side's covariance: of as many columns as images where those are fewer."""
    images, dimensions = side.features.shape
    if images <= dimensions:
        centred = side.features - _mean(side.features)
        return Root(centred.T / np.sqrt(images - 1), None)
    try:
        matrix = scipy.linalg.cholesky(side.sigma, lower=True)
        return Root(matrix, scipy.linalg.solve_triangular(matrix, np.eye(dimensions), lower=True))
    except scipy.linalg.LinAlgError:  # singular: of repeated images, or units that are always zero
        values, vectors = scipy.linalg.eigh(side.sigma)
        kept = values > LEAST_EIGENVALUE * values[-1]
        matrix = vectors[:, kept] * np.sqrt(values[kept])
        return Root(matrix, matrix.T / values[kept][:, None])


def _second_order(sides: list[Side], roots: np.ndarray, random: np.random.Generator) -> float:
    """Return the second order of FID's variance: 2 (1/n + 1/m)^2 E[H^2] over pairs of images.

    An image is of either side with the weight that the side's images have in a mean.
    """
    weights = np.array([1 / len(side.images) for side in sides])
    of_side = random.choice(len(sides), size=(2, PAIRS), p=weights / weights.sum())
    counts = np.array([len(side.images) for side in sides])[of_side]
    chosen = random.integers(counts)
    # The second image of a pair is another one than the first.
    again = (of_side[0] == of_side[1]) & (chosen[0] == chosen[1])
    chosen[1, again] = (chosen[0, again] + random.integers(1, counts[0, again])) % counts[0, again]
    one, two = (np.empty((PAIRS, len(roots))) for _ in range(2))
    for number, side in enumerate(sides):
        for points, is_of, rows in zip((one, two), of_side, chosen, strict=True):
            points[is_of == number] = side.at(rows[is_of == number])
    kernel = half_hessian(one, two, roots)
    return float(2 * weights.sum() ** 2 * np.mean(kernel**2))


def half_hessian(one: np.ndarray, two: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Return half of FID's second derivative H(x, y) by pairs of images x, y, float64 [N].

    one, two: their coordinates [N, k] as in `Side`, in which
    H(x, y) = x.y + 1/2 sum_ij x_i y_i x_j y_j / (roots_i + roots_j) - |x|^2/4 - |y|^2/4 + s/4 with
    s the sum of the roots; with the opposite sign for images of different sides.
    """
    product = one * two
    norms = _norms(one) + _norms(two)
    return product.sum(axis=1) + _curvature(product, roots) / 2 - norms / 4 + roots.sum() / 4


def _curvature(rows: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Return sum_ij z_i z_j / (roots_i + roots_j) of each row z of [N, k].

    1 / (a + b) is the integral of exp(-(a + b) t) over t > 0, so that the sum is one of
    (sum_i z_i exp(-roots_i t))^2. With t = exp(u) the trapezoidal rule in u, here of step 1/2, is
    exact to 1e-6 in some 60 products instead of k.
    """
    if not len(roots):
        return np.zeros(len(rows))
    step = 0.5
    times = np.exp(np.arange(np.log(1e-7 / roots.max()), np.log(20 / roots.min()), step))
    return (rows @ np.exp(-np.outer(roots, times))) ** 2 @ times * step


def _norms(rows: np.ndarray) -> np.ndarray:
    """Return |z|^2 of each row z of [N, k]."""
    return np.einsum("ni,ni->n", rows, rows)


def _mean(features: np.ndarray) -> np.ndarray:
    """Return the mean [D] in float64; that of a reference is summed in float32."""
    return features.mean(axis=0, dtype=np.float64)
