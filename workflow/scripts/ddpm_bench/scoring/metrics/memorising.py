"""Memorisation: distances of generated images to the nearest training images.

A model that has learnt the distribution comes no closer to its training images than other images of
that distribution do; held-out images are such others.
"""

import numpy as np

from ddpm_bench.records.memorised_share import (
    FEWEST_HELD_OUT,
    chance_interval,
    memorised_share,
)
from ddpm_bench.records.nearest import Nearest
from ddpm_bench.scoring.metrics.neighbours import nearest_row

MEMORISING_SCORES = (
    *("nearest_generated", "nearest_heldout", "closer_than_heldout", "images_heldout"),
    *("memorised_share", "memorised_chance_low", "memorised_chance_high"),
)


def nearest_training_images(
    generated: np.ndarray, train: np.ndarray, heldout: np.ndarray | None
) -> Nearest:
    """Find the nearest training image of each generated image, and the distances of held-out ones.

    Features, float32, of generated [N, D], training [T, D] and held-out images [M, D].
    """
    index, distance = nearest_row(generated, train)
    if heldout is None:
        heldout = train[:0]
    return Nearest(distance, index, nearest_row(heldout, train)[1])


def memorising_scores(nearest: Nearest) -> tuple[dict[str, float | None], list[str]]:
    """Return the median distances, and how often a generated image is closer than a held-out one.

    Scores that need held-out images are None without them; the second value has the reason why the
    memorised share is None although some images are held out.
    """
    generated, heldout = nearest.generated_distance, nearest.heldout_distance
    scores: dict[str, float | None] = dict.fromkeys(MEMORISING_SCORES)
    scores["nearest_generated"] = float(np.median(generated))
    scores["images_heldout"] = len(heldout)
    if len(heldout):
        scores["nearest_heldout"] = float(np.median(heldout))
        scores["closer_than_heldout"] = closer_than_heldout(generated, heldout)
    if 0 < len(heldout) < FEWEST_HELD_OUT:
        return scores, [f"needs {FEWEST_HELD_OUT} held-out images; there are {len(heldout)}"]
    if len(heldout):
        scores["memorised_share"] = memorised_share(generated, heldout)
        low, high = chance_interval(len(generated), len(heldout))
        scores["memorised_chance_low"], scores["memorised_chance_high"] = low, high
    return scores, []


def closer_than_heldout(generated: np.ndarray, heldout: np.ndarray) -> float:
    """Return P(generated distance < held-out distance) + P(equal) / 2 over all pairs.

    The Mann-Whitney statistic over its maximum, by which Meehan et al. 2020 ("A Non-Parametric Test
    to Detect Data-Copying in Generative Models", section 4) test for copying: 1/2 without copying,
    1 when every generated image is closer.
    """
    ordered = np.sort(heldout)
    not_above = np.searchsorted(ordered, generated, side="right")
    below = np.searchsorted(ordered, generated, side="left")
    return float(1 - (not_above + below).mean() / (2 * len(heldout)))
