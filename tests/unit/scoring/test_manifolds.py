"""Precision and recall tell the two sides apart, and are the same in blocks."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import (
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

from ddpm_bench.scoring.metrics import manifolds, neighbours
from ddpm_bench.scoring.metrics.all_metrics import FEWEST_FOR_MANIFOLDS
from ddpm_bench.scoring.metrics.manifolds import density_and_coverage, precision_and_recall


def points(seed: int, count: int, spread: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, (count, 8)).astype(np.float32)


@pytest.fixture(params=["held", "blocks"])
def way(request, monkeypatch):
    """Hold all distances, or take them in blocks of a few rows."""
    if request.param == "blocks":
        monkeypatch.setattr(manifolds, "LARGEST_MATRIX", 10)
        monkeypatch.setattr(neighbours, "BLOCK_BYTES", 5000)


def clusters(seed: int, count: int, dimensions: int, inner: int) -> np.ndarray:
    """Return images of ten classes, each around an own plane of `inner` dimensions: float32."""
    classes, random = np.random.default_rng(7), np.random.default_rng(seed)
    centres = classes.normal(size=(10, dimensions))
    planes = classes.normal(size=(10, inner, dimensions)) / inner**0.5
    label = random.integers(0, 10, count)
    within = np.einsum("ni,nid->nd", random.normal(size=(count, inner)), planes[label])
    return (centres[label] + within + 0.1 * random.normal(size=within.shape)).astype(np.float32)


@pytest.mark.parametrize(("dimensions", "inner"), [(64, 5), (64, 20), (2048, 20)])
def test_noise_is_precise_against_few_images_and_no_more_from_two_hundred_on(dimensions, inner):
    """FEWEST_FOR_MANIFOLDS of all_metrics; recall of noise falls at no count."""
    many = clusters(0, FEWEST_FOR_MANIFOLDS, dimensions, inner)
    noise = np.random.default_rng(2).normal(many.mean(0), many.std(0), (100, dimensions))
    noise = noise.astype(np.float32)
    assert precision_and_recall(noise, many[:12], 3)[0] > 0.2
    precision, recall = precision_and_recall(noise, many, 3)
    assert precision < 0.05 and recall > 0.4
    assert max(density_and_coverage(noise, many, 5)) < 0.05
    fresh = clusters(1, 100, dimensions, inner)
    assert precision_and_recall(fresh, many, 3)[0] > 0.7


@pytest.mark.parametrize("neighborhood", [1, 3])
def test_both_equal_torch_fidelitys(way, neighborhood):
    generated, real = points(0, 150, 0.9), points(1, 120, 1.0)
    found = prc_features_to_metric(
        torch.from_numpy(generated),
        torch.from_numpy(real),
        prc_neighborhood=neighborhood,
        verbose=False,
    )
    expected = found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]
    assert min(expected) > 0.1 and max(expected) < 0.95 and expected[0] != expected[1]
    assert precision_and_recall(generated, real, neighborhood) == pytest.approx(expected, rel=1e-6)


def test_samples_of_one_mode_are_precise_and_recall_little(way):
    precision, recall = precision_and_recall(points(0, 200, 0.1), points(1, 300, 1.0), 3)
    assert precision > 0.95
    assert recall < 0.05


def test_samples_wider_than_the_dataset_are_imprecise_and_recall_all(way):
    precision, recall = precision_and_recall(points(0, 200, 1.0), points(1, 300, 0.1), 3)
    assert precision < 0.05
    assert recall > 0.95
