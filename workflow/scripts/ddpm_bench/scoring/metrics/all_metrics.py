"""All scores of one set of samples, from its features and logits.

Most are torch-fidelity's functions, which take the generated images first and the real ones second;
precision and recall, and the random subsets of KID, depend on that order.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

from ddpm_bench.config.scoring import ScoreSettings
from ddpm_bench.errors import UserError
from ddpm_bench.records.nearest import Nearest
from ddpm_bench.scoring.features.references import Reference, feature_statistics
from ddpm_bench.scoring.metrics.fid import fid
from ddpm_bench.scoring.metrics.fid_uncertainty import fid_deviation
from ddpm_bench.scoring.metrics.kid import all_pairs_distance, subsets_distance
from ddpm_bench.scoring.metrics.manifolds import density_and_coverage, precision_and_recall
from ddpm_bench.scoring.metrics.memorising import memorising_scores, nearest_training_images

Scores = dict[str, float | None]
SCORE_NAMES = (
    *("fid", "fid_std"),
    *("is_mean", "is_std"),
    *("kid_mean", "kid_std", "kid_subset_size"),
    *("precision", "recall"),
    *("density", "coverage"),
    *("nearest_generated", "nearest_heldout", "closer_than_heldout", "memorised_share"),
)


@dataclass(frozen=True)
class References:
    """References of a set of samples, all in its feature space except `fid`."""

    reference: Reference
    fid: Reference  # equal to `reference`, or pytorch-fid's pass over it, or published statistics
    train: np.ndarray | None  # float32 [T, D], features of the training images
    heldout: np.ndarray | None  # float32 [M, D], features of the held-out images, if any


@dataclass(frozen=True)
class MetricValues:
    """Scores of a set of samples, with warnings about them."""

    scores: Scores  # by SCORE_NAMES; None where one cannot be computed
    warnings: list[str]
    nearest: Nearest | None  # None without training images


def measure(
    generated: np.ndarray,
    logits: np.ndarray | None,
    against: References,
    measuring: ScoreSettings,
    fid_generated: np.ndarray | None = None,
) -> MetricValues:
    """Compute all scores of generated features [N, D] and logits [N, K], float32.

    fid_generated: the features of pytorch-fid's pass if FID has that backend. Without logits there
    is no IS. A score that cannot be computed from so few images, or that is not finite, is None
    with a warning. Raises UserError when features are not finite.
    """
    fid_generated = generated if fid_generated is None else fid_generated
    _refuse_broken_features(generated, logits, fid_generated, against)
    scores: Scores = dict.fromkeys(SCORE_NAMES)
    warnings: list[str] = []
    for found, warning in (
        _frechet(fid_generated, against.fid, measuring),
        _inception_score(logits, measuring),
        _kernel(generated, against.reference, measuring),
        _manifolds(generated, against.reference, measuring),
    ):
        scores |= found
        warnings += warning
    nearest = None
    if against.train is not None:
        nearest = nearest_training_images(generated, against.train, against.heldout)
        scores |= memorising_scores(nearest)
    for name, value in scores.items():
        if value is not None and not math.isfinite(value):
            scores[name] = None
            warnings.append(f"{name} is left out: it came out as {value}")
    return MetricValues(scores, warnings, nearest)


def _refuse_broken_features(
    generated: np.ndarray, logits: np.ndarray | None, fid_generated: np.ndarray, against: References
) -> None:
    """Raise UserError when a feature is not finite: no score of it would mean anything."""
    sides = {
        "samples": [generated, logits, fid_generated],
        "reference": [against.reference.features, against.fid.features],
        "training images": [against.train],
        "held-out images": [against.heldout],
    }
    for side, arrays in sides.items():
        if not all(array is None or _finite(array) for array in arrays):
            raise UserError(
                f"features of the {side} are not finite: the feature network's weights are "
                "broken; fetch or train them again"
            )


def _finite(array: np.ndarray) -> bool:
    """Return whether all values are finite, from their sum: one that is not spoils it."""
    return bool(np.isfinite(array.sum(dtype=np.float64)))


Found = tuple[Scores, list[str]]


def _frechet(generated: np.ndarray, real: Reference, measuring: ScoreSettings) -> Found:
    """Compute FID, Heusel et al. 2017, and its standard deviation over the choice of images."""
    smaller = _smaller(generated, real)
    if smaller < 2:
        return {}, [f"FID needs 2 images on both sides; there are {smaller}"]
    backend = measuring.fid_backend
    ours = Reference(generated, *feature_statistics(generated, backend), weights_sha256=None)
    scores: Scores = {
        "fid": fid(ours, real, backend),
        "fid_std": fid_deviation(ours, real, seed=measuring.seed),
    }
    return scores, _few_images(generated, real)


def _smaller(generated: np.ndarray, real: Reference) -> int:
    """Return the number of images of the smaller side; published statistics do not count."""
    return len(generated) if real.features is None else min(len(generated), len(real.features))


def _few_images(generated: np.ndarray, real: Reference) -> list[str]:
    """Return the warning that a side has fewer images than dimensions.

    Its covariance is then rank-deficient, and FID too large.
    """
    dimensions = generated.shape[1]
    sides = {"reference": real.features, "set of samples": generated}
    few = [
        f"the {side} has {len(features)}"
        for side, features in sides.items()
        if features is not None and len(features) < dimensions
    ]
    if not few:
        return []
    return [
        f"{' and '.join(few)} images for {dimensions} dimensions: FID is biased upwards, read KID"
    ]


def _inception_score(logits: np.ndarray | None, measuring: ScoreSettings) -> Found:
    """Compute IS, Salimans et al. 2016, over parts of the shuffled set.

    The shuffle and the parts are torch-fidelity's, whose function receives one part at a time: for
    the whole set, its float64 probabilities of 50,000 images are 1.2 GB.
    """
    if logits is None:
        return {}, []
    count, parts = len(logits), measuring.isc_splits
    if count < parts:
        return {}, [f"IS in {parts} parts needs as many images; lower isc_splits"]
    order = np.random.RandomState(measuring.seed).permutation(count)
    scores = [
        isc_features_to_metric(
            torch.from_numpy(logits[order[part * count // parts : (part + 1) * count // parts]]),
            splits=1,
            shuffle=False,
        )[KEY_METRIC_ISC_MEAN]
        for part in range(parts)
    ]
    return {"is_mean": float(np.mean(scores)), "is_std": float(np.std(scores))}, []


def check_kid_subsets(measuring: ScoreSettings, generated: int, reference: int) -> None:
    """Raise UserError when the keys ask for more images in a subset of KID than there are."""
    size = measuring.kid_subset_size
    if size is not None and size > min(generated, reference):
        raise UserError(
            f"kid_subset_size = {size} exceeds the {generated} samples or the {reference} "
            f"reference images; set it to {min(generated, reference)} or less, or to null"
        )


def _kernel(generated: np.ndarray, real: Reference, measuring: ScoreSettings) -> Found:
    """Compute KID, over all pairs of images or over subsets of the size that the keys ask for."""
    if real.features is None:
        return {}, []
    smaller = _smaller(generated, real)
    if smaller < 2:
        return {}, [f"KID needs 2 images on both sides; there are {smaller}"]
    size = measuring.kid_subset_size
    if size is None:
        mean, std = all_pairs_distance(generated, real.features)
        why = [] if std is not None else [f"kid_std needs 4 images on both sides; here {smaller}"]
        return {"kid_mean": mean, "kid_std": std}, why
    check_kid_subsets(measuring, len(generated), len(real.features))
    mean, std = subsets_distance(
        generated, real.features, subsets=measuring.kid_subsets, size=size, seed=measuring.seed
    )
    warnings = []
    if 2 * size > smaller:
        warnings.append(
            f"kid_subset_size = {size} is more than half of the {smaller} images of the smaller "
            "side: its subsets are much alike, and kid_std is too small; leave it out"
        )
    return {"kid_mean": mean, "kid_std": std, "kid_subset_size": size}, warnings


def _manifolds(generated: np.ndarray, real: Reference, measuring: ScoreSettings) -> Found:
    """Compute the scores of k nearest neighbours: precision, recall, density and coverage."""
    if real.features is None:
        return {}, []
    scores: Scores = {}
    warnings = []
    smaller = _smaller(generated, real)
    if smaller > measuring.prc_neighborhood:
        precision, recall = precision_and_recall(
            generated, real.features, measuring.prc_neighborhood
        )
        scores |= {"precision": precision, "recall": recall}
    else:
        warnings.append(
            f"precision and recall need more than prc_neighborhood = {measuring.prc_neighborhood} "
            f"images on both sides; there are {smaller}"
        )
    k = measuring.density_neighborhood
    if len(real.features) > k:
        density, coverage = density_and_coverage(generated, real.features, k)
        scores |= {"density": density, "coverage": coverage}
    else:
        warnings.append(
            f"density and coverage need more than density_neighborhood = {k} reference images; "
            f"there are {len(real.features)}"
        )
    return scores, warnings
