"""Frechet distances equal those of the field's packages, also for singular covariances."""

import numpy as np
import pytest
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy.linalg import LinAlgWarning

from ddpm_bench.scoring.features.references import feature_statistics
from ddpm_bench.scoring.metrics import fid

pytestmark = pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")


def random_statistics(dimensions: int) -> list[np.ndarray]:
    """Return two means and positive definite covariances."""
    random = np.random.default_rng(dimensions)
    statistics = []
    for _ in range(2):
        factor = random.normal(size=(dimensions, dimensions))
        statistics += [random.normal(size=dimensions), factor @ factor.T + np.eye(dimensions)]
    return statistics


def statistics_of_images(dimensions: int, generated: int, real: int) -> list[np.ndarray]:
    """Return statistics of features like Inception's: none negative, spread over few directions."""
    random = np.random.default_rng(dimensions)
    mixing = np.exp(-np.linspace(0, 6, dimensions))[:, None] * random.normal(size=2 * [dimensions])
    statistics = []
    for count, shift in ((generated, 0.4), (real, 0.5)):
        features = random.normal(size=(count, dimensions)) @ mixing / dimensions**0.5 + shift
        statistics += feature_statistics(features.clip(0).astype(np.float32))
    return statistics


@pytest.mark.parametrize("backend", fid.DISTANCES)
@pytest.mark.parametrize("dimensions", [2, 64, 200])
def test_the_distance_equals_pytorch_fids(backend, dimensions):
    statistics = random_statistics(dimensions)
    expected = calculate_frechet_distance(*statistics)
    assert expected > 1
    assert fid.DISTANCES[backend](*statistics) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("backend", fid.DISTANCES)
@pytest.mark.parametrize(("generated", "real"), [(30, 24), (5, 200), (100, 40)])
def test_the_distance_of_rank_deficient_covariances_equals_pytorch_fids(backend, generated, real):
    statistics = statistics_of_images(128, generated, real)
    assert min(np.linalg.matrix_rank(sigma) for sigma in statistics[1::2]) < 128
    expected = calculate_frechet_distance(*statistics)
    assert expected > 0.5
    assert fid.DISTANCES[backend](*statistics) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("generated", "real"), [(300, 400), (30, 24)])
def test_features_that_are_zero_in_all_images_change_no_equality(generated, real, capsys):
    """Units that are always zero make the product singular; scipy and pytorch-fid then warn."""
    statistics = statistics_of_images(128, generated, real)
    for mu, sigma in (statistics[:2], statistics[2:]):
        mu[:10] = sigma[:10] = sigma[:, :10] = 0
    with pytest.warns(LinAlgWarning):
        expected = calculate_frechet_distance(*statistics)
    capsys.readouterr()
    for distance in fid.DISTANCES.values():
        assert distance(*statistics) == pytest.approx(expected, rel=1e-6)
    assert capsys.readouterr().out == ""
