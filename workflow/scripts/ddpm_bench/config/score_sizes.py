"""Numbers of images that keys of a score need, and that sets of samples and references have.

Only keys that the user gives are held to them: without, a score of too few images is empty, with
the reason in its table.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Literal

from ddpm_bench.config.block import Block, Images
from ddpm_bench.config.dataset import Dataset
from ddpm_bench.config.scoring import Score
from ddpm_bench.config.training import TrainRun

# Images beyond the value of a key: the k nearest others of an image need k + 1.
BEYOND = {
    "kid_subset_size": 0,
    "isc_splits": 0,
    "prc_neighborhood": 1,
    "density_neighborhood": 1,
}
OF_SAMPLES = ("kid_subset_size", "isc_splits", "prc_neighborhood")
OF_REFERENCE = ("kid_subset_size", "prc_neighborhood", "density_neighborhood")
# Images of standard datasets: for training, and published test images.
STANDARD = {
    "sklearn-digits": (1797, 0),
    "mnist": (60_000, 10_000),
    "fashion-mnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000),
}


class NeededImages(Block):
    """Number of images that a key of a score needs of its reference."""

    key: str  # its whole path
    value: Images
    images: int
    split: Literal["train", "eval", "all"]

    def message(self, found: int) -> str | None:
        """Return a message if there are fewer images than are needed; or None."""
        if found >= self.images:
            return None
        return (
            f"{self.key} = {self.value} needs {self.images:,} images, and its reference "
            f"({self.split}) has {found:,}; lower it, or add images"
        )


class TrainJobRun(TrainRun):
    """Settings of running a training job, with what is checked before it: `--how` of train.py."""

    needed: tuple[NeededImages, ...] = ()

    def settings(self) -> TrainRun:
        """Return the settings alone."""
        return TrainRun.model_validate(self.model_dump(exclude={"needed"}, exclude_unset=True))


def _given(score: Score, keys: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Yield those of the keys that the user gives, with their value and the images they need."""
    for key in keys:
        value = getattr(score, key)
        if key in score.model_fields_set and value is not None:
            yield key, value, value + BEYOND[key]


def too_few_samples(scores: Mapping[str, Score], images: Mapping[str, int]) -> Iterator[str]:
    """Yield a message for each key that needs more images than a set of samples has.

    images: number of images by the name of the set.
    """
    for name, score in scores.items():
        for key, value, needed in _given(score, OF_SAMPLES):
            for samples, count in images.items():
                if count < needed:
                    yield (
                        f"scores.{name}.{key} = {value} needs {needed:,} images, and {samples} "
                        f"has {count:,}; lower it, or raise {samples}.images"
                    )


def needed_of_reference(where: str, scores: Mapping[str, Score]) -> tuple[NeededImages, ...]:
    """Return what the scores of an experiment or autoencoder, `where`, need of their references."""
    return tuple(
        NeededImages(
            key=f"{where}.scores.{name}.{key}", value=value, images=needed, split=score.reference
        )
        for name, score in scores.items()
        for key, value, needed in _given(score, OF_REFERENCE)
    )


def most_images(dataset: Dataset, files: int | None = None) -> dict[str, int]:
    """Return upper bounds of the images of a dataset's splits, before it is prepared.

    files: the number of its files, where that is known. Nothing is returned if nothing is known.
    Identical images stay together, so that more may be held out than eval_fraction says, not less.
    """
    images, published = STANDARD.get(dataset.source.kind, (files, 0))
    if images is None:
        return {}
    if dataset.eval_fraction == "published":
        return {"train": images, "eval": published, "all": images + published}
    kept = math.floor(images * (1 - dataset.eval_fraction) + 0.5)
    return {"train": kept, "eval": images, "all": images}


def too_few_of_reference(
    needed: tuple[NeededImages, ...], images: Mapping[str, int]
) -> Iterator[str]:
    """Yield a message for each need that exceeds the images of its split, if that is known."""
    for need in needed:
        message = need.message(images[need.split]) if need.split in images else None
        if message:
            yield message
