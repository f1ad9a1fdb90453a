"""Scores of one checkpoint, as score.py writes and the tables read them."""

from dataclasses import dataclass
from typing import Literal

from ddpm_bench.config.block import Block


class ScoreRecord(Block):
    """The JSON file of one score: one set of samples of one checkpoint; null: not measurable."""

    feature_space: str
    reference: Literal["train", "eval", "all"]
    fid_reference: str  # `reference`, or the name of published statistics
    fid_backend: Literal["torch-fidelity", "pytorch-fid"]
    images_generated: int
    images_reference: int
    fid: float | None
    fid_std: float | None  # over bootstrap resamples
    is_mean: float | None
    is_std: float | None
    kid_mean: float | None
    kid_std: float | None
    kid_subset_size: int | None
    precision: float | None
    recall: float | None
    density: float | None
    coverage: float | None
    # Distances to the nearest training image in feature space: medians; the probability that a
    # generated image is closer than a held-out one; the share of generated images that are closer
    # than 95% of the held-out ones.
    nearest_generated: float | None
    nearest_heldout: float | None
    closer_than_heldout: float | None
    memorised_share: float | None
    feature_dimensions: int
    weights_sha256: str | None
    classifier_accuracy: float | None
    channels_repeated: bool
    warning: str | None


@dataclass(frozen=True)
class Metric:
    """How the values of a column are named, compared and printed."""

    column: str
    name: str
    lower_is_better: bool
    # Column of its standard deviation: FID's over bootstrap resamples of the images, KID's over
    # subsets of them, IS's over parts.
    std: str | None
    decimals: int  # in the terminal's table


METRICS = {
    metric.column: metric
    for metric in (
        Metric("fid", "FID", lower_is_better=True, std="fid_std", decimals=2),
        Metric("kid_mean", "KID", lower_is_better=True, std="kid_std", decimals=5),
        Metric("is_mean", "IS", lower_is_better=False, std="is_std", decimals=2),
        Metric("precision", "precision", lower_is_better=False, std=None, decimals=3),
        Metric("recall", "recall", lower_is_better=False, std=None, decimals=3),
        Metric("density", "density", lower_is_better=False, std=None, decimals=3),
        Metric("coverage", "coverage", lower_is_better=False, std=None, decimals=3),
    )
}


def feature_space_label(feature_space: str) -> str:
    """What axes and tables call a feature space, so that no two are taken for each other."""
    if feature_space in ("classifier", "inception"):
        return f"{feature_space.replace('inception', 'Inception')} features"
    if feature_space.startswith("dinov2-"):
        network = feature_space.removeprefix("dinov2-")  # as vit-b-14
        size, patch = network.removeprefix("vit-").split("-")
        return f"DINOv2 ViT-{size.upper()}/{patch} features"
    name = feature_space.removeprefix("inception-")
    return f"Inception features, weights '{name}', not comparable"
