"""Density and coverage as their paper defines them."""

import numpy as np
import pytest

from ddpm_bench.scoring.metrics import neighbours
from ddpm_bench.scoring.metrics.manifolds import density_and_coverage


def points(seed: int, count: int, *, shift: float = 0.0, spread: float = 1.0) -> np.ndarray:
    found = np.random.default_rng(seed).normal(shift, spread, (count, 6))
    return found.astype(np.float32)


def by_the_equations(generated, real, k):
    """Compute Naeem et al. 2020, equations 4 and 5, one pair at a time."""
    inside = [[False] * len(real) for _ in generated]
    for i, centre in enumerate(real):
        to_others = sorted(np.linalg.norm(centre - other) for j, other in enumerate(real) if j != i)
        for j, image in enumerate(generated):
            inside[j][i] = np.linalg.norm(image - centre) < to_others[k - 1]
    density = sum(map(sum, inside)) / (k * len(generated))
    coverage = sum(map(any, zip(*inside, strict=True))) / len(real)
    return density, coverage


@pytest.mark.parametrize("block_bytes", [2**24, 1000])
@pytest.mark.parametrize("k", [1, 5])
def test_both_equal_a_plain_loop_over_the_equations(monkeypatch, k, block_bytes):
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", block_bytes)
    generated, real = points(0, 60, shift=1.0), points(1, 45)
    density, coverage = density_and_coverage(generated, real, k)
    assert 0 < density < 2 and 0 < coverage < 1
    assert (density, coverage) == pytest.approx(by_the_equations(generated, real, k))


def test_a_set_covers_itself():
    real = points(1, 300)
    density, coverage = density_and_coverage(real.copy(), real, 5)
    assert coverage == 1
    assert density == pytest.approx(1, abs=0.05)


def test_fresh_images_of_the_distribution_have_density_one():
    density, coverage = density_and_coverage(points(0, 2000), points(1, 2000), 5)
    assert density == pytest.approx(1, abs=0.05)
    # Naeem et al. 2020, proposition 1 in the limit of many images: 1 - 1/2^k.
    assert coverage == pytest.approx(1 - 0.5**5, abs=0.02)


def test_far_images_have_and_cover_nothing():
    assert density_and_coverage(points(0, 50, shift=100.0), points(1, 60), 5) == (0, 0)


def test_images_of_one_mode_are_dense_and_cover_little():
    density, coverage = density_and_coverage(points(0, 500, spread=0.05), points(1, 500), 5)
    assert density > 1.2
    assert coverage < 0.1
