"""The reference: what images are scored against, as features and their statistics on disk."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .config.scoring import FeatureStage, ScoreRun
from .features import computing_device, extract, open_images
from .files import replacing
from .program import UserError
from .spaces import open_feature_space


@dataclass(frozen=True)
class Reference:
    """The dataset's images in a feature space."""

    features: np.ndarray  # float32 [N, D]
    mu: np.ndarray  # float64 [D]
    sigma: np.ndarray  # float64 [D, D]
    weights_sha256: str


def feature_statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and covariance [D, D], float64, of float32 features [N, D] with N > 1.

    The mean is summed in float32 because torch-fidelity's is: at 50,000 images the two differ by
    as much as scores may differ from it.
    """
    return features.mean(axis=0).astype(np.float64), np.cov(features, rowvar=False)


def reference_features(
    stage: FeatureStage, images: Sequence[Path], weights: Path, run: ScoreRun
) -> Reference:
    """The features and statistics of all images of the listed arrays, in order."""
    arrays = open_images(images)
    count = sum(len(array) for array in arrays)
    if count < 2:
        names = ", ".join(map(str, images))
        raise UserError(f"{names}: {count} images; a reference needs two or more: add images")
    device = computing_device(run)
    space = open_feature_space(stage, weights, device)
    features, _ = extract(space, arrays, count, run.batch_size, device)
    return Reference(features, *feature_statistics(features), space.weights_sha256)


def write_reference(path: Path, reference: Reference) -> None:
    """Write a reference as .npz, atomically and without pickle."""
    with replacing(path) as temporary:
        np.savez(
            temporary,
            features=reference.features,
            mu=reference.mu,
            sigma=reference.sigma,
            weights_sha256=np.array(reference.weights_sha256),
        )


def read_reference(path: Path) -> Reference:
    """Read what `write_reference` wrote. Raises UserError when it is something else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Reference(
                features=stored["features"],
                mu=stored["mu"],
                sigma=stored["sigma"],
                weights_sha256=str(stored["weights_sha256"]),
            )
    except (OSError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: cannot be read as reference features ({error}); make it again "
            "(workflow/scripts/reference_features.py)"
        ) from None
