"""KID from the kernel of all pairs equals torch-fidelity's loop over subsets."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import (
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    kid_features_to_metric,
)

from ddpm_bench.scoring.metrics import kid


def features(seed: int, count: int, shift: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, 32)).astype(np.float32)


@pytest.mark.parametrize("largest", [4000, 10])
@pytest.mark.parametrize(("generated", "real"), [(60, 45), (45, 60)])
def test_kid_equals_torch_fidelitys(monkeypatch, generated, real, largest):
    monkeypatch.setattr(kid, "LARGEST_KERNEL", largest)
    sides = features(0, generated, 0.3), features(1, real, 0.0)
    found = kid_features_to_metric(
        *map(torch.from_numpy, sides),
        kid_subsets=20,
        kid_subset_size=30,
        rng_seed=7,
        verbose=False,
    )
    expected = found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD]
    assert expected[0] > 0.1 and expected[1] > 0.01
    ours = kid.kernel_distance(*sides, subsets=20, size=30, seed=7)
    assert ours == pytest.approx(expected, rel=1e-6)
