"""Record of the scores of one checkpoint, and the metrics in it."""

from dataclasses import dataclass
from typing import Literal

from ddpm_bench.config.selection import LOWER_IS_BETTER
from ddpm_bench.records.json_record import JsonRecord


class ScoreRecord(JsonRecord):
    """The JSON file of one score of one set of samples at one checkpoint; null: not measurable."""

    feature_space: str
    reference: Literal["train", "eval", "all"]
    fid_reference: str  # `reference`, or the name of published statistics
    fid_backend: Literal["torch-fidelity", "pytorch-fid"]
    images_generated: int
    images_reference: int
    fid: float | None
    fid_std: float | None  # over the choice of images: docs/scores.md
    is_mean: float | None
    is_std: float | None
    kid_mean: float | None
    kid_std: float | None
    kid_subset_size: int | None  # null: all pairs of images
    precision: float | None
    recall: float | None
    density: float | None
    coverage: float | None
    # Distances to the nearest training image in feature space: medians; the probability that a
    # generated image is closer than a held-out one; the share of generated images that are closer
    # than 95% of the held-out ones, with the interval that 95% of such shares are in by chance.
    nearest_generated: float | None
    nearest_heldout: float | None
    closer_than_heldout: float | None
    memorised_share: float | None
    memorised_chance_low: float | None = None  # here and below: records of before have none
    memorised_chance_high: float | None = None
    images_heldout: int | None = None
    feature_dimensions: int
    weights_sha256: str | None
    classifier_accuracy: float | None
    channels_repeated: bool
    warning: str | None


@dataclass(frozen=True)
class Metric:
    """A column of scores: its name, its better direction, and its format."""

    column: str
    name: str
    lower_is_better: bool
    # Column of its standard deviation: FID's and KID's over the choice of images (KID's over
    # subsets, where the keys ask for these), IS's over parts.
    std: str | None
    decimals: int  # in the terminal's table

    @property
    def never_negative(self) -> bool:
        """True if no value can be below 0; unbiased estimates of a distance of 0, as KID, can."""
        return self.column != "kid_mean"


METRICS = {
    column: Metric(column, name, column in LOWER_IS_BETTER, std, decimals)
    for column, name, std, decimals in (
        ("fid", "FID", "fid_std", 2),
        ("kid_mean", "KID", "kid_std", 5),
        ("is_mean", "IS", "is_std", 2),
        ("precision", "precision", None, 3),
        ("recall", "recall", None, 3),
        ("density", "density", None, 3),
        ("coverage", "coverage", None, 3),
    )
}


# Images of a side for each dimension, below which FID's standard deviation is rough.
FEW_FOR_FID_STD = 4
ROUGH = f"rough: fewer than {FEW_FOR_FID_STD} images per dimension"


def fid_std_is_rough(generated: int, reference: int | None, dimensions: int) -> bool:
    """Return True if FID's standard deviation is of few images for the features' dimensions.

    reference: None for published statistics, which are taken as they are. In the simulations of
    docs/scores.md the deviation is within 20% of the true one from four images for each dimension
    on, and within 40% below.
    """
    sides = [generated] if reference is None else [generated, reference]
    return min(sides) < FEW_FOR_FID_STD * dimensions


def feature_space_label(feature_space: str) -> str:
    """Return the name of a feature space for axes and tables, unique for each space."""
    if feature_space in ("classifier", "inception"):
        return f"{feature_space.replace('inception', 'Inception')} features"
    if feature_space.startswith("dinov2-"):
        network = feature_space.removeprefix("dinov2-")  # such as vit-b-14
        size, patch = network.removeprefix("vit-").split("-")
        return f"DINOv2 ViT-{size.upper()}/{patch} features"
    name = feature_space.removeprefix("inception-")
    return f"Inception features, weights '{name}', not comparable"
