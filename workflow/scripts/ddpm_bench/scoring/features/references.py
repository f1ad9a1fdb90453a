"""References that samples are scored against: features and their statistics, on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ddpm_bench.config.scoring import FeatureStage, ScoreRun
from ddpm_bench.errors import UserError
from ddpm_bench.files import replacing
from ddpm_bench.images.sample_files import open_images
from ddpm_bench.machine.compute_device import compute_device
from ddpm_bench.records.checksums import UNREADABLE_NPZ
from ddpm_bench.records.json_record import ANEW
from ddpm_bench.scoring.features.extraction import extract
from ddpm_bench.scoring.features.spaces import open_feature_space

Backend = Literal["torch-fidelity", "pytorch-fid"]
# Types in which the packages sum their means.
MEAN_TYPES = {"torch-fidelity": np.float32, "pytorch-fid": np.float64}
ROWS = 4096  # converted to float64 at a time: 67 MB for 2,048 dimensions


@dataclass(frozen=True)
class Reference:
    """Images in a feature space; or the published statistics of some, without their features."""

    features: np.ndarray | None  # float32 [N, D]
    mu: np.ndarray  # float64 [D]; NaN for fewer than two images
    sigma: np.ndarray  # float64 [D, D]; NaN for fewer than two images
    weights_sha256: str | None  # None: published statistics do not name them
    image_shape: tuple[int, ...] | None = None  # H, W, C; None: not known

    @property
    def images(self) -> int | None:
        """Number of images; None if published statistics do not name it."""
        return None if self.features is None else len(self.features)


def feature_statistics(
    features: np.ndarray, backend: Backend = "torch-fidelity"
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean [D] and covariance [D, D], float64, of float32 features [N, D]; NaN if N < 2.

    The mean is summed in float32 because torch-fidelity's is: at 50,000 images the two differ by as
    much as scores may differ from it; pytorch-fid's is summed in float64. The covariance is
    numpy.cov's up to rounding, of some rows at a time: numpy.cov would copy all of them twice.
    """
    count, dimensions = features.shape
    if count < 2:
        return np.full(dimensions, np.nan), np.full((dimensions, dimensions), np.nan)
    mean = features.mean(axis=0, dtype=np.float64)
    sigma = np.zeros((dimensions, dimensions))
    for first in range(0, count, ROWS):
        centred = features[first : first + ROWS] - mean
        sigma += centred.T @ centred
    mu = features.mean(axis=0, dtype=MEAN_TYPES[backend]).astype(np.float64)
    return mu, sigma / (count - 1)


def reference_features(
    stage: FeatureStage, images: Sequence[Path], weights: Path, run: ScoreRun
) -> Reference:
    """Compute the features and statistics of all images of the listed files, in order."""
    return features_of(stage, open_images(images), weights, run)


def features_of(
    stage: FeatureStage, arrays: Sequence[np.ndarray], weights: Path, run: ScoreRun
) -> Reference:
    """Compute the features and statistics of all images in `arrays`, uint8 [N, H, W, C]."""
    device = compute_device(run.cpus)
    space = open_feature_space(stage, weights, device)
    count = sum(len(array) for array in arrays)
    features, _ = extract(space, arrays, count, run.batch_size, device)
    statistics = feature_statistics(features, backend_of(stage))
    return Reference(features, *statistics, space.weights_sha256, arrays[0].shape[1:])


def backend_of(stage: FeatureStage) -> Backend:
    """Return the package whose features a stage computes, and which therefore sums their mean."""
    return "pytorch-fid" if stage.features == "pytorch-fid" else "torch-fidelity"


def join_references(
    references: Sequence[Reference], backend: Backend = "torch-fidelity"
) -> Reference:
    """Join all images of several references, in order."""
    first, *others = references
    if not others:
        return first
    features = np.concatenate([reference.features for reference in references])
    statistics = feature_statistics(features, backend)
    return Reference(features, *statistics, first.weights_sha256, first.image_shape)


# On disk


def write_reference(path: Path, reference: Reference) -> None:
    """Write a reference with features as .npz, atomically and without pickle."""
    with replacing(path) as temporary:
        np.savez(
            temporary,
            features=reference.features,
            mu=reference.mu,
            sigma=reference.sigma,
            weights_sha256=np.array(reference.weights_sha256),
            image_shape=np.array(reference.image_shape or (), np.int64),
        )


def read_reference(paths: Sequence[Path], backend: Backend = "torch-fidelity") -> Reference:
    """Read files of `write_reference`; several, such as train's and eval's, are joined.

    Raises UserError when one is something else, or of other weights or images than the first.
    """
    references = [_read_one(path) for path in paths]
    first = references[0]
    for path, other in zip(paths, references, strict=True):
        ours = (other.weights_sha256, other.image_shape)
        if ours != (first.weights_sha256, first.image_shape):
            raise UserError(
                f"{path}: was made with other weights or of other images than {paths[0]}; make "
                "both again (workflow/scripts/reference_features.py)"
            )
    return join_references(references, backend)


def _read_one(path: Path) -> Reference:
    """Read one file of `write_reference`; raise UserError if it is none."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            shape = stored.get("image_shape", ())  # which older files lack
            return Reference(
                features=stored["features"],
                mu=stored["mu"],
                sigma=stored["sigma"],
                weights_sha256=str(stored["weights_sha256"]),
                image_shape=tuple(map(int, shape)) or None,
            )
    except UNREADABLE_NPZ as error:
        raise UserError(
            f"{path}: cannot be read as reference features ({error}); {ANEW} "
            "(or make it with workflow/scripts/reference_features.py)"
        ) from None


def read_statistics(path: Path) -> Reference:
    """Read published statistics, an .npz with mu [D] and sigma [D, D] of Inception's features.

    Raises UserError when it is something else, or when a number is not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            mu, sigma = stored["mu"].astype(np.float64), stored["sigma"].astype(np.float64)
    except UNREADABLE_NPZ as error:
        raise UserError(
            f"{path}: cannot be read as statistics ({error}); they are an .npz with mu and sigma"
        ) from None
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise UserError(
            f"{path}: mu is {list(mu.shape)} and sigma {list(sigma.shape)}; statistics are mu [D] "
            "and sigma [D, D]"
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError(f"{path}: holds numbers that are not finite; fetch it again")
    return Reference(None, mu, sigma, weights_sha256=None)
