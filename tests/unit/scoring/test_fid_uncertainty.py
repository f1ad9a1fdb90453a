"""FID's bootstrap: the short computation gives the FIDs of the plain one."""

import numpy as np
import pytest

from ddpm_bench.scoring.features.references import Reference
from ddpm_bench.scoring.metrics.fid import fidelity_distance
from ddpm_bench.scoring.metrics.fid_uncertainty import (
    draw,
    fid_deviation,
    published,
    resampled_fids,
)


def features(seed: int, count: int, dimensions: int = 48, shift: float = 0.0) -> np.ndarray:
    """Return float32 [count, dimensions], spread over few directions, as those of images are."""
    random = np.random.default_rng(seed)
    spread = np.exp(-np.linspace(0, 4, dimensions))
    return (random.normal(size=(count, dimensions)) * spread + shift).astype(np.float32)


def plain_statistics(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = rows.astype(np.float64)
    return rows.mean(axis=0), np.cov(rows, rowvar=False)


def reference_of(rows: np.ndarray) -> Reference:
    return Reference(rows, *plain_statistics(rows), weights_sha256=None)


def plain_fids(generated, real, resamples, seed):
    """Compute the FID of each resample with its rows written out, repeated as drawn."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        one = np.repeat(generated, draw(random, len(generated)), axis=0)
        two = real
        if isinstance(real, np.ndarray):
            two = plain_statistics(np.repeat(real, draw(random, len(real)), axis=0))
        yield fidelity_distance(*plain_statistics(one), *two)


@pytest.mark.parametrize(
    ("generated", "real"),
    [(30, 40), (40, 30), (30, 300), (300, 30), (200, 300), (60, 60)],
)
def test_resampled_fids_equal_those_of_the_rows_drawn(generated, real):
    sides = features(0, generated, shift=0.3), features(1, real)
    ours = list(resampled_fids(*sides, resamples=3, seed=7))
    expected = list(plain_fids(*sides, resamples=3, seed=7))
    assert min(expected) > 0.5
    assert ours == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("generated", [30, 300])
@pytest.mark.parametrize("behind", [20, 500])  # images: a singular covariance, and one that is not
def test_published_statistics_are_not_resampled(generated, behind):
    mu, sigma = plain_statistics(features(1, behind))
    images = features(0, generated, shift=0.3)
    ours = list(resampled_fids(images, published(mu, sigma), resamples=3, seed=7))
    expected = list(plain_fids(images, (mu, sigma), resamples=3, seed=7))
    assert ours == pytest.approx(expected, rel=1e-6)


def test_many_images_are_taken_in_parts(monkeypatch):
    monkeypatch.setattr("ddpm_bench.scoring.metrics.fid_uncertainty.ROWS_AT_ONCE", 64)
    sides = features(0, 200, shift=0.3), features(1, 300)
    ours = list(resampled_fids(*sides, resamples=2, seed=7))
    assert ours == pytest.approx(list(plain_fids(*sides, resamples=2, seed=7)), rel=1e-6)


def test_the_deviation_is_that_over_fresh_images():
    """The spread of FID over sets drawn anew is what the bootstrap of one set estimates."""
    real = features(1, 1500, dimensions=8)
    mu, sigma = plain_statistics(real)
    fresh = [
        fidelity_distance(*plain_statistics(features(seed, 400, 8, shift=0.2)), mu, sigma)
        for seed in range(100, 200)
    ]
    ours = fid_deviation(
        features(0, 400, 8, shift=0.2), Reference(None, mu, sigma, None), resamples=200, seed=0
    )
    assert ours == pytest.approx(np.std(fresh, ddof=1), rel=0.25)


def test_a_seed_gives_the_same_deviation_and_another_seed_another():
    sides = features(0, 30), reference_of(features(1, 40))
    first, again, other = (fid_deviation(*sides, resamples=5, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("resamples", [0, 1])
def test_fewer_than_two_resamples_have_no_deviation(resamples):
    sides = features(0, 30), reference_of(features(1, 40))
    assert fid_deviation(*sides, resamples=resamples, seed=0) is None
