"""KID over all pairs and over subsets: values, and deviations against fresh images."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import (
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    kid_features_to_metric,
)

from ddpm_bench.scoring.metrics import kid


def features(seed: int, count: int, shift: float, dimensions: int = 32) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(shift, 1, (count, dimensions))
    return drawn.astype(np.float32)


def fidelity_kid(sides, subsets: int, size: int) -> tuple[float, float]:
    found = kid_features_to_metric(
        *map(torch.from_numpy, sides),
        kid_subsets=subsets,
        kid_subset_size=size,
        rng_seed=7,
        verbose=False,
    )
    return found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD]


@pytest.mark.parametrize("largest", [4000, 10])
@pytest.mark.parametrize(("generated", "real"), [(60, 45), (45, 60)])
def test_kid_over_subsets_equals_torch_fidelitys(monkeypatch, generated, real, largest):
    monkeypatch.setattr(kid, "LARGEST_KERNEL", largest)
    sides = features(0, generated, 0.3), features(1, real, 0.0)
    expected = fidelity_kid(sides, subsets=20, size=30)
    assert expected[0] > 0.1 and expected[1] > 0.01
    ours = kid.subsets_distance(*sides, subsets=20, size=30, seed=7)
    assert ours == pytest.approx(expected, rel=1e-6)


def test_kid_over_all_pairs_equals_torch_fidelitys_of_one_subset_of_all_images():
    sides = features(0, 60, 0.3), features(1, 60, 0.0)
    mean, _ = kid.all_pairs_distance(*sides)
    assert mean == pytest.approx(fidelity_kid(sides, subsets=1, size=60)[0], rel=1e-5)


def test_kid_over_all_pairs_is_what_many_subsets_approach():
    sides = features(0, 80, 0.3), features(1, 50, 0.0)
    mean, _ = kid.all_pairs_distance(*sides)
    over_subsets, deviation = fidelity_kid(sides, subsets=2000, size=20)
    assert abs(mean - over_subsets) < 4 * deviation / np.sqrt(2000)


@pytest.mark.parametrize(("generated", "real"), [(30, 50), (50, 30), (4, 9)])
def test_blocks_of_the_kernel_add_up_to_the_whole(monkeypatch, generated, real):
    sides = features(0, generated, 0.3), features(1, real, 0.0)
    whole = kid.all_pairs_distance(*sides)
    monkeypatch.setattr(kid, "ROWS", 7)
    assert kid.all_pairs_distance(*sides) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(("generated", "real", "parts"), [(101, 60, 4), (60, 101, 4), (101, 24, 2)])
def test_many_images_are_taken_in_disjoint_parts(monkeypatch, generated, real, parts):
    """All are used: of what deviates from image to image, the parts' mean is as exact."""
    sides = features(0, generated, 0.3), features(1, real, 0.0)
    mean, deviation = kid.all_pairs_distance(*sides)
    monkeypatch.setattr(kid, "LARGEST_PART", 26)
    monkeypatch.setattr(kid, "SMALLEST_PART", 12)
    found = kid.all_pairs_distance(*sides)
    alone = [kid.all_pairs_distance(*(rows[k::parts] for rows in sides)) for k in range(parts)]
    expected = np.mean([one for one, _ in alone]), np.linalg.norm([std for _, std in alone]) / parts
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[0] == pytest.approx(mean, abs=deviation)
    assert found[1] == pytest.approx(deviation, rel=0.5)


def ratio(generated: int, real: int, dimensions: int, shift: float, sets: int) -> float:
    """Return the mean of the deviations, over that of KID, over sets drawn anew."""
    found = [
        kid.all_pairs_distance(
            features(2 * number, generated, shift, dimensions),
            features(2 * number + 1, real, 0.0, dimensions),
        )
        for number in range(sets)
    ]
    means, deviations = map(np.array, zip(*found, strict=True))
    return float(np.mean(deviations) / np.std(means, ddof=1))


@pytest.mark.parametrize("shift", [0.0, 0.1])  # without a first order of the variance, and with one
@pytest.mark.parametrize(("generated", "real"), [(100, 100), (30, 150), (150, 30)])
def test_the_deviation_over_all_pairs_is_that_over_fresh_images(generated, real, shift):
    assert ratio(generated, real, 16, shift, sets=200) == pytest.approx(1, abs=0.2)


@pytest.mark.long
@pytest.mark.parametrize("shift", [0.0, 0.05])
@pytest.mark.parametrize(
    ("generated", "real", "dimensions", "sets", "within"),
    [
        (100, 1000, 64, 200, 0.4),
        (300, 300, 64, 200, 0.2),
        (500, 1438, 64, 200, 0.2),
        (1000, 308, 2048, 60, 0.4),
    ],
)
def test_the_deviation_is_near_the_true_one_at_the_sizes_of_studies(
    generated, real, dimensions, sets, within, shift
):
    # The deviation of 200 sets is itself known to 5%.
    assert ratio(generated, real, dimensions, shift, sets) == pytest.approx(1, abs=within + 0.05)


@pytest.mark.parametrize("fewest", [2, 3])
def test_fewer_than_four_images_have_no_deviation(fewest):
    mean, deviation = kid.all_pairs_distance(features(0, fewest, 0.3), features(1, 30, 0.0))
    assert np.isfinite(mean) and deviation is None


def test_features_that_are_all_equal_have_a_kid_of_zero():
    same = np.ones((20, 8), np.float32)
    assert kid.all_pairs_distance(same, same) == pytest.approx((0, 0), abs=1e-6)
