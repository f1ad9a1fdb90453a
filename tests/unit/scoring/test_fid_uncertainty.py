"""FID's standard deviation: its derivatives against differences, its value against fresh images."""

import itertools

import numpy as np
import pytest

from ddpm_bench.scoring.features.references import Reference, feature_statistics
from ddpm_bench.scoring.metrics.fid import fidelity_distance
from ddpm_bench.scoring.metrics.fid_uncertainty import fid_deviation, half_hessian, transport


def features(seed: int, count: int, dimensions: int = 6, scale: float = 1.0) -> np.ndarray:
    """Return float32 [count, dimensions], spread over few directions, as those of images are."""
    spread = scale * np.exp(-np.linspace(0, 2, dimensions))
    drawn = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (drawn * spread).astype(np.float32)


def side(rows: np.ndarray) -> Reference:
    return Reference(rows, *feature_statistics(rows, "pytorch-fid"), weights_sha256=None)


def published(rows: np.ndarray) -> Reference:
    return Reference(None, *feature_statistics(rows, "pytorch-fid"), weights_sha256=None)


def fid_of(one: Reference, two: Reference) -> float:
    return fidelity_distance(one.mu, one.sigma, two.mu, two.sigma)


# Derivatives


def weighted(rows: np.ndarray, moved: dict[int, float]) -> Reference:
    """Return images of which some have a share more of all weight, taken from all alike."""
    weights = np.full(len(rows), (1 - sum(moved.values())) / len(rows))
    for image, share in moved.items():
        weights[image] += share
    rows = rows.astype(np.float64)
    mu = weights @ rows
    centred = rows - mu
    return Reference(rows, mu, centred.T @ (centred * weights[:, None]), weights_sha256=None)


ROWS = features(0, 60, scale=1.4) + np.float32(0.1), features(1, 80)
STEP = 1e-3


def test_the_influence_of_an_image_is_the_derivative_by_its_weight():
    one, two = weighted(ROWS[0], {}), weighted(ROWS[1], {})
    sides, roots = transport(one, two)
    for number, sign in ((0, 1), (1, -1)):
        own = sides[number]
        points = own.at(slice(None))
        found = own.changes(sign * (one.mu - two.mu), roots)
        found += half_hessian(points, points, roots) / len(points)
        slopes = []
        for image in range(len(points)):
            low, high = (
                fid_of(*(weighted(rows, {image: step} if side == number else {})
                         for side, rows in enumerate(ROWS)))
                for step in (-STEP, STEP)
            )  # fmt: skip
            slopes.append((high - low) / (2 * STEP))
        assert found - found.mean() == pytest.approx(np.array(slopes), abs=2e-3)
        assert np.std(slopes) > 0.5


@pytest.mark.parametrize("of", [(0, 0), (1, 1), (0, 1)])
def test_half_the_hessian_is_half_the_second_derivative_by_two_images(of):
    """The two images are of one side, or of different ones."""
    sides, roots = transport(*(weighted(rows, {}) for rows in ROWS))
    for images in ((3, 5), (20, 41), (7, 59)):
        points = [sides[number].at([image]) for number, image in zip(of, images, strict=True)]
        (found,) = half_hessian(*points, roots)
        mixed = 0.0
        for signs in itertools.product((1, -1), repeat=2):
            moved: list[dict[int, float]] = [{}, {}]
            for number, image, sign in zip(of, images, signs, strict=True):
                moved[number][image] = sign * STEP
            mixed += signs[0] * signs[1] * fid_of(*map(weighted, ROWS, moved))
        mixed /= 4 * STEP**2
        expected = mixed / 2 if of[0] == of[1] else -mixed / 2
        assert found == pytest.approx(expected, abs=2e-3 + 0.01 * abs(expected))


@pytest.mark.parametrize(
    ("counts", "alike"),
    [
        ((150, 200), 0.98),
        ((200, 150), 0.98),
        ((12, 200), 0.98),
        ((200, 12), 0.98),
        ((14, 15), 0.9),  # one image of fifteen is much of all: the third order is seen
    ],
)
def test_changes_are_those_of_fid_without_each_image(counts, alike):
    """Also where images are fewer than dimensions, and the covariances singular."""
    rows = features(0, counts[0], 16, scale=1.4), features(1, counts[1], 16)
    first, second = sorted(rows, key=len)
    ours, theirs = side(first), side(second)
    sides, roots = transport(ours, theirs)
    changes = sides[1].changes(theirs.mu - ours.mu, roots)
    without = [
        fid_of(ours, side(np.delete(second, image, 0))) for image in range(20)[: len(second)]
    ]
    exact = -len(second) * np.array(without)
    found = changes[: len(exact)]
    assert np.corrcoef(found, exact)[0, 1] > alike


# The deviation over fresh images


def ratio(generated: int, real: int, dimensions: int, scale: float, sets: int) -> float:
    """Return the mean of the estimates, over the deviation of FID, over sets drawn anew."""
    fids, found = [], []
    for number in range(sets):
        ours = side(features(2 * number, generated, dimensions, scale))
        theirs = side(features(2 * number + 1, real, dimensions))
        fids.append(fid_of(ours, theirs))
        found.append(fid_deviation(ours, theirs, seed=number))
    return float(np.mean(found) / np.std(fids, ddof=1))


@pytest.mark.parametrize("scale", [1.0, 1.2])
@pytest.mark.parametrize(("generated", "real"), [(64, 200), (200, 64), (40, 40)])
def test_the_deviation_is_that_over_fresh_images(generated, real, scale):
    assert ratio(generated, real, 8, scale, sets=150) == pytest.approx(1, abs=0.25)


def white(random, count, dimensions):
    return random.normal(size=(count, dimensions))


def heavy_tailed(random, count, dimensions):
    return (random.exponential(size=(count, dimensions)) - 1) * _power(dimensions)


def _power(dimensions):
    return np.arange(1, dimensions + 1) ** -0.5


def in_clusters(random, count, dimensions):
    apart = 2 * np.sign(np.sin(np.arange(dimensions)))
    return random.normal(size=(count, dimensions)) + random.integers(0, 2, (count, 1)) * apart


@pytest.mark.long
@pytest.mark.parametrize("drawn", [white, heavy_tailed, in_clusters])
@pytest.mark.parametrize(
    ("generated", "real", "dimensions", "within"),
    [(500, 1438, 64, 0.2), (300, 300, 64, 0.2), (100, 1000, 64, 0.4), (128, 193, 256, 0.4)],
)
def test_the_deviation_is_near_the_true_one_at_the_sizes_of_studies(
    generated, real, dimensions, within, drawn
):
    """Within 20% where both sides have four images for each dimension, else 40%."""
    random = np.random.default_rng(0)
    fids, found = [], []
    for number in range(400 if dimensions < 100 else 100):
        ours = side((1.1 * drawn(random, generated, dimensions)).astype(np.float32))
        theirs = side(drawn(random, real, dimensions).astype(np.float32))
        fids.append(fid_of(ours, theirs))
        if number < 100:
            found.append(fid_deviation(ours, theirs, seed=number))
    # The deviation of 400 sets is itself known to 4% or so.
    assert np.mean(found) / np.std(fids, ddof=1) == pytest.approx(1, abs=within + 0.04)


@pytest.mark.parametrize("generated", [5, 200])
def test_published_statistics_are_taken_as_they_are(generated):
    """FID of generated images varies as over fresh ones against the same statistics."""
    real = published(features(1, 500, 8))
    fids, found = [], []
    for number in range(100, 250):
        ours = side(features(number, generated, 8, scale=1.2))
        fids.append(fid_of(ours, real))
        found.append(fid_deviation(ours, real, seed=0))
    assert np.mean(found) == pytest.approx(np.std(fids, ddof=1), rel=0.25)


def test_sides_may_be_exchanged():
    one, two = side(features(0, 90)), side(features(1, 60, scale=1.3))
    assert fid_deviation(one, two, seed=0) == pytest.approx(
        fid_deviation(two, one, seed=1), rel=0.05
    )


def test_units_that_are_always_zero_change_nothing():
    """They make the covariance singular, and its Cholesky factor impossible."""
    one, two = features(0, 90), features(1, 60, scale=1.3)
    plain = fid_deviation(side(one), side(two), seed=0)
    wider = (np.pad(rows, ((0, 0), (0, 3))) for rows in (one, two))
    assert fid_deviation(*map(side, wider), seed=0) == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("generated", [np.zeros((4, 6), np.float32), features(0, 2)])
def test_images_without_spread_and_the_fewest_have_a_finite_deviation(generated):
    assert np.isfinite(fid_deviation(side(generated), side(features(1, 60)), seed=0))


def test_a_seed_gives_the_same_deviation_and_another_seed_nearly_the_same():
    sides = side(features(0, 90)), side(features(1, 60))
    first, again, other = (fid_deviation(*sides, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first == pytest.approx(other, rel=0.1)
