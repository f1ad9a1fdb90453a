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
from ddpm_bench.scoring.metrics.manifolds import precision_and_recall


def points(seed: int, count: int, spread: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, (count, 8)).astype(np.float32)


@pytest.fixture(params=["held", "blocks"])
def way(request, monkeypatch):
    """Hold all distances, or take them in blocks of a few rows."""
    if request.param == "blocks":
        monkeypatch.setattr(manifolds, "LARGEST_MATRIX", 10)
        monkeypatch.setattr(neighbours, "BLOCK_BYTES", 5000)


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
