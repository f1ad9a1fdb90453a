"""FID, IS, KID, precision and recall, by torch-fidelity's own functions on features and logits.

Its functions take the generated images first and the real ones second; precision and recall, and
the draws of KID's subsets, depend on that order.
"""

import math

import numpy as np
import torch
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric
from torch_fidelity.metric_isc import (
    KEY_METRIC_ISC_MEAN,
    KEY_METRIC_ISC_STD,
    isc_features_to_metric,
)
from torch_fidelity.metric_kid import (
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    kid_features_to_metric,
)
from torch_fidelity.metric_prc import (
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

from .config.scoring import Measuring
from .program import UserError
from .references import Reference, feature_statistics

LARGEST_KID_SUBSET = 1000  # the literature's
LARGEST_DISTANCE_MATRIX = 10_000  # images; beyond, distances are taken in parts to save memory

Scores = dict[str, float | None]
SCORE_NAMES = (
    "fid",
    "is_mean",
    "is_std",
    "kid_mean",
    "kid_std",
    "kid_subset_size",
    "precision",
    "recall",
)


def measure(
    generated: np.ndarray, logits: np.ndarray, reference: Reference, measuring: Measuring
) -> tuple[Scores, list[str]]:
    """All scores of generated features [N, D] and logits [N, K] (float32), and warnings about them.

    A score that cannot be had of so few images, or that is not finite, is None, with a warning.
    """
    if not (np.isfinite(generated).all() and np.isfinite(reference.features).all()):
        return dict.fromkeys(SCORE_NAMES), [
            "features are not finite, so there are no scores: the weights are broken"
        ]
    scores: Scores = dict.fromkeys(SCORE_NAMES)
    warnings: list[str] = []
    smaller = min(len(generated), len(reference.features))
    if smaller < 2:
        warnings.append(f"FID and KID need 2 images on both sides; there are {smaller}")
    else:
        scores |= _frechet(generated, reference)
        scores |= _kernel(generated, reference, measuring)
        warnings += _few_images(generated, reference)
    if len(logits) < measuring.isc_splits:
        warnings.append(
            f"IS in {measuring.isc_splits} parts needs as many images; lower isc_splits"
        )
    else:
        scores |= _inception_score(logits, measuring)
    if smaller <= measuring.prc_neighborhood:
        warnings.append(
            f"precision and recall need more than prc_neighborhood = {measuring.prc_neighborhood} "
            f"images on both sides; there are {smaller}"
        )
    else:
        scores |= _precision_recall(generated, reference, measuring)
    for name, value in scores.items():
        if value is not None and not math.isfinite(value):
            scores[name] = None
            warnings.append(f"{name} is left out: it came out as {value}")
    return scores, warnings


def _few_images(generated: np.ndarray, reference: Reference) -> list[str]:
    """A covariance of fewer images than dimensions is rank-deficient, and FID too large."""
    dimensions = generated.shape[1]
    sides = {"reference": len(reference.features), "set of samples": len(generated)}
    few = [f"the {side} has {count}" for side, count in sides.items() if count < dimensions]
    if not few:
        return []
    return [
        f"{' and '.join(few)} images for {dimensions} dimensions: FID is biased upwards, read KID"
    ]


def frechet_distance(
    mu_1: np.ndarray, sigma_1: np.ndarray, mu_2: np.ndarray, sigma_2: np.ndarray
) -> float:
    """|mu_1 - mu_2|^2 + Tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)), Heusel et al. 2017; float64."""
    statistics = {"mu": mu_1, "sigma": sigma_1}, {"mu": mu_2, "sigma": sigma_2}
    return fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]


def _frechet(generated: np.ndarray, reference: Reference) -> Scores:
    mu, sigma = feature_statistics(generated)
    return {"fid": frechet_distance(mu, sigma, reference.mu, reference.sigma)}


def _inception_score(logits: np.ndarray, measuring: Measuring) -> Scores:
    """Salimans et al. 2016, over parts of the shuffled set."""
    found = isc_features_to_metric(
        torch.from_numpy(logits), splits=measuring.isc_splits, shuffle=True, rng_seed=measuring.seed
    )
    return {"is_mean": found[KEY_METRIC_ISC_MEAN], "is_std": found[KEY_METRIC_ISC_STD]}


def kid_subset_size(measuring: Measuring, generated: int, reference: int) -> int:
    """Images of each of KID's subsets. Raises UserError when more are asked for than exist."""
    size = measuring.kid_subset_size
    if size is None:
        return min(LARGEST_KID_SUBSET, generated, reference)
    if size > min(generated, reference):
        raise UserError(
            f"kid_subset_size = {size} exceeds the {generated} samples or the {reference} "
            f"reference images; set it to {min(generated, reference)} or less, or to null"
        )
    return size


def _kernel(generated: np.ndarray, reference: Reference, measuring: Measuring) -> Scores:
    """KID, Binkowski et al. 2018: the unbiased squared MMD with a cubic kernel, over subsets."""
    size = kid_subset_size(measuring, len(generated), len(reference.features))
    found = kid_features_to_metric(
        torch.from_numpy(generated),
        torch.from_numpy(reference.features),
        kid_subsets=measuring.kid_subsets,
        kid_subset_size=size,
        rng_seed=measuring.seed,
        verbose=False,
    )
    return {
        "kid_mean": found[KEY_METRIC_KID_MEAN],
        "kid_std": found[KEY_METRIC_KID_STD],
        "kid_subset_size": size,
    }


def _precision_recall(generated: np.ndarray, reference: Reference, measuring: Measuring) -> Scores:
    """Kynkaanniemi et al. 2019: shares of images inside the other side's k-nearest balls."""
    found = prc_features_to_metric(
        torch.from_numpy(generated),
        torch.from_numpy(reference.features),
        prc_neighborhood=measuring.prc_neighborhood,
        save_cpu_ram=max(len(generated), len(reference.features)) > LARGEST_DISTANCE_MATRIX,
        verbose=False,
    )
    return {"precision": found[KEY_METRIC_PRECISION], "recall": found[KEY_METRIC_RECALL]}
