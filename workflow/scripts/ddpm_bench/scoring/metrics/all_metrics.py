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
from ddpm_bench.records.score_warnings import about
from ddpm_bench.scoring.features.references import Reference, feature_statistics
from ddpm_bench.scoring.metrics.fid import fid
from ddpm_bench.scoring.metrics.fid_uncertainty import fid_deviation
from ddpm_bench.scoring.metrics.kid import all_pairs_distance, subsets_distance
from ddpm_bench.scoring.metrics.manifolds import density_and_coverage, precision_and_recall
from ddpm_bench.scoring.metrics.memorising import (
    MEMORISING_SCORES,
    memorising_scores,
    nearest_training_images,
)
from ddpm_bench.scoring.metrics.repeated_images import repeated_share

# Reference images, and the multiple of k, from which on fewer than 5% of noise is counted as
# precise: noise with the mean and the variances of the reference, in 64 dimensions (digits'
# pixels, clusters of 5 and 20 dimensions) and in 2,048 (clusters of 5 to 50). Below, the balls of
# the few images are wide enough to hold noise: all of it, or nearly, against 12.
FEWEST_FOR_MANIFOLDS, FEWEST_OVER_K = 200, 40
REPEATED_SHARE = 0.01  # of a side's images, from which on repeated ones are worth a warning

Scores = dict[str, float | None]
SCORE_NAMES = (
    *("fid", "fid_std"),
    *("is_mean", "is_std"),
    *("kid_mean", "kid_std", "kid_subset_size"),
    *("precision", "recall"),
    *("density", "coverage"),
    *MEMORISING_SCORES,
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
    reference, nearest = against.reference, None
    measured = {
        ("fid",): _frechet(fid_generated, against.fid, measuring),
        ("is_mean",): _inception_score(logits, measuring),
        ("kid_mean",): _kernel(generated, reference, measuring),
        ("precision", "recall"): _overlap(generated, reference, measuring.prc_neighborhood),
        ("density", "coverage"): _density(generated, reference, measuring.density_neighborhood),
    }
    if against.train is not None:
        nearest = nearest_training_images(generated, against.train, against.heldout)
        measured[("memorised_share",)] = memorising_scores(nearest)
    for columns, (found, reasons) in measured.items():
        scores |= found
        for name in found:
            if found[name] is not None and not math.isfinite(found[name]):
                scores[name] = None
                reasons = [*reasons, f"{name} is left out: it came out as {found[name]}"]
        warnings += [about(columns, reason) for reason in reasons]
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
        return {}, [f"needs 2 images on both sides; there are {smaller}"]
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
        f"{' and '.join(few)} images for {dimensions} dimensions: it is biased upwards, read KID"
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
        return {}, [f"its {parts} parts need as many images; lower isc_splits"]
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
        return {}, [f"needs 2 images on both sides; there are {smaller}"]
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


def _overlap(generated: np.ndarray, real: Reference, k: int) -> Found:
    """Compute precision and recall of manifolds of k nearest neighbours."""
    if real.features is None:
        return {}, []
    smaller = _smaller(generated, real)
    if smaller <= k:
        text = f"need more than prc_neighborhood = {k} images on both sides; there are {smaller}"
        return {}, [text]
    precision, recall = precision_and_recall(generated, real.features, k)
    sides = {"reference": real.features, "generated": generated}
    return {"precision": precision, "recall": recall}, [
        *_few_for_manifolds(real.features, k),
        *_repeated(sides, k),
    ]


def _density(generated: np.ndarray, real: Reference, k: int) -> Found:
    """Compute density and coverage of balls of k nearest neighbours."""
    if real.features is None:
        return {}, []
    there = len(real.features)
    if there <= k:
        text = f"need more than density_neighborhood = {k} reference images; there are {there}"
        return {}, [text]
    density, coverage = density_and_coverage(generated, real.features, k)
    return {"density": density, "coverage": coverage}, [
        *_few_for_manifolds(real.features, k),
        *_repeated({"reference": real.features}, k),
    ]


def _few_for_manifolds(real: np.ndarray, k: int) -> list[str]:
    """Return the warning that noise, too, lies in the manifold of so few images."""
    fewest = max(FEWEST_FOR_MANIFOLDS, FEWEST_OVER_K * k)
    if len(real) >= fewest:
        return []
    return [f"against {len(real)} images noise, too, may score well; take {fewest} or more"]


def _repeated(sides: dict[str, np.ndarray], k: int) -> list[str]:
    """Return the warnings about sides with images that occur more than k times.

    Their distance to the k-th neighbour is 0 by the papers' definition, which counts copies as
    neighbours; counting distinct images instead would no longer be the field's score.
    """
    shares = {side: repeated_share(features, k) for side, features in sides.items()}
    return [
        f"{share:.0%} of the {side} images occur more than {k} times, which leaves them no "
        "neighbourhood: too low"
        for side, share in shares.items()
        if share >= REPEATED_SHARE
    ]
