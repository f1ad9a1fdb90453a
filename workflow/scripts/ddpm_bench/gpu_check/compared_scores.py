"""Comparison of features and scores that two devices, or two programs, have computed."""

import math
from collections.abc import Mapping

import numpy as np

FEATURES_LIMIT = 1e-3  # relative, of the GPU's features from the CPU's
SAME_LIMIT = 1e-5  # relative, of scores of the same features from torch-fidelity's
SCORES_LIMIT = 1e-2  # relative, of scores of the GPU's features from those of the CPU's
SHARES_LIMIT = 0.02  # absolute, of scores that count images
# A feature that is nearly always zero is compared with this part of the typical feature.
SMALLEST_RMS = 1e-2
SHARES = (
    *("precision", "recall", "density", "coverage"),
    *("closer_than_heldout", "memorised_share"),
)


def feature_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest relative difference of a feature: of float32 [N, D].

    The root mean square of a feature's difference over the images, over that of the feature; inf
    where the shapes differ, or something is not finite.
    """
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return math.inf
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    sizes = np.sqrt((theirs**2).mean(axis=0))
    smallest = SMALLEST_RMS * np.sqrt((theirs**2).mean())
    if smallest == 0:
        return math.inf  # all of them are zero: nothing was computed
    differences = np.sqrt(((ours - theirs) ** 2).mean(axis=0))
    return float((differences / np.maximum(sizes, smallest)).max())


def score_differences(
    ours: Mapping[str, float | None], theirs: Mapping[str, float | None]
) -> dict[str, float]:
    """Return the difference of each score in `theirs`, by name; inf where one side has none.

    Absolute for scores that count images, relative for others.
    """
    found = {}
    for name, other in theirs.items():
        one = ours.get(name)
        if other is None or one is None:
            found[name] = 0.0 if one is other else math.inf
            continue
        difference = abs(one - other)
        if name not in SHARES and difference:
            difference = difference / abs(other) if other else math.inf
        found[name] = difference if math.isfinite(difference) else math.inf
    return found


def too_large(differences: Mapping[str, float], limit: float, shares_limit: float) -> list[str]:
    """Return the names of the scores that differ by more than they may."""
    return [
        name
        for name, value in differences.items()
        if not value <= (shares_limit if name in SHARES else limit)
    ]


def largest(differences: Mapping[str, float], shares: bool) -> float:
    """Return the largest difference of scores that count images, or of the others; 0 without."""
    return max((v for name, v in differences.items() if (name in SHARES) is shares), default=0.0)
