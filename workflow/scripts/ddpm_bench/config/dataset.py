"""`datasets:`, the sources of images and their preparation."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, field_validator

from ddpm_bench.config.block import (
    BatchSize,
    Block,
    Channels,
    Cores,
    PositiveInt,
    Seed,
    Sha256,
    Steps,
)
from ddpm_bench.config.paths import InputFile

PUBLISHED_SPLITS = ("mnist", "fashion-mnist", "cifar10")


class SklearnDigits(Block):
    """1,797 handwritten digits of 8x8 pixels with labels; part of scikit-learn, offline."""

    kind: Literal["sklearn-digits"] = Field(description="Kind of source.")


class Folder(Block):
    """A folder of image files on this machine.

    Labels are the names of the first level of sub-folders on which files differ, if there is one.
    """

    kind: Literal["folder"] = Field(description="Kind of source.")
    path: InputFile = Field(
        min_length=1,
        description="The folder, relative to the folder in which snakemake is started.",
    )
    include: list[str] = Field(
        ["**/*"],
        description="Glob patterns, relative to the folder; files that match any of them are read. "
        "As in a shell, `*` matches no name that begins with a dot.",
    )


class Git(Block):
    """Image files of a git repository at one commit."""

    kind: Literal["git"] = Field(description="Kind of source.")
    url: str = Field(
        pattern=r"^(https|http|ssh|git|file)://",
        description="Address of the repository; file:// too.",
    )
    commit: str = Field(pattern=r"^[0-9a-f]{40}$", description="Full hash of the commit.")
    include: list[str] = Field(
        ["**/*"], description="Glob patterns, relative to the repository's root."
    )


class Url(Block):
    """A zip or tar archive of image files."""

    kind: Literal["url"] = Field(description="Kind of source.")
    url: str = Field(pattern=r"^(https|http|ftp|file)://", description="Address of the archive.")
    sha256: Sha256 = Field(description="Checksum of the archive.")
    include: list[str] = Field(
        ["**/*"], description="Glob patterns, relative to the archive's root."
    )

    @field_validator("url")
    @classmethod
    def _known_archive(cls, url: str) -> str:
        suffixes = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
        path = PurePosixPath(url.split("?")[0].split("#")[0])
        if not path.name.lower().endswith(suffixes):
            raise ValueError(f"the address must end in one of {', '.join(suffixes)}")
        return url


class Published(Block):
    """A standard dataset from its published archives (checksums pinned, read without pickle)."""

    kind: Literal["mnist", "fashion-mnist", "cifar10"] = Field(description="Kind of source.")


Source = Annotated[SklearnDigits | Folder | Git | Url | Published, Field(discriminator="kind")]


class Classifier(Block):
    """The small network whose features and class probabilities `features: classifier` uses."""

    steps: Steps = Field(300, description="Optimiser steps.")
    batch_size: BatchSize = Field(128, description="Images per step.")
    learning_rate: float = Field(2e-3, gt=0, description="Peak of the one-cycle schedule.")
    features: Channels = Field(64, description="Dimensions of the feature vector.")
    seed: Seed = Field(0, description="Seed of the weights and of the order of images.")


class FetchStage(Block):
    """All that determines the files of a dataset: `--what` of fetch.py.

    listing: hash of the files of a local folder; when they change, all that follows is stale.
    """

    version: PositiveInt
    source: Source
    listing: str | None = None


class PrepareStage(Block):
    """All that determines prepared images besides their files: `--what` of prepare.py."""

    version: PositiveInt
    kind: str
    include: tuple[str, ...] = ("**/*",)
    image_size: PositiveInt
    channels: Literal[1, 3] = 3
    eval_fraction: float | Literal["published"] = 0.0
    split_seed: Seed = 0
    max_megapixels: float = 100
    value_range: tuple[float, float] | None = None


class ClassifierStage(Block):
    """All that determines a classifier besides the images: `--what` of train_classifier.py."""

    version: PositiveInt
    classifier: Classifier = Field(default_factory=Classifier)


class PrepareRun(Block):
    """Settings of running preparation, which never change a result."""

    cpus: Cores = Field(4, description="Processes that decode images.")


class Dataset(Block):
    """One dataset: its source, and the square images made from it."""

    source: Source = Field(description="Source of the images; `kind` decides the other keys.")
    image_size: PositiveInt = Field(
        ge=8,
        le=2048,
        description="Side of the prepared images in pixels: the shorter side of each image is "
        "resized to it, then the centre is cropped.",
    )
    channels: Literal[1, 3] = Field(3, description="1 grayscale, 3 RGB.")
    eval_fraction: Annotated[float, Field(ge=0, lt=1)] | Literal["published"] = Field(
        0.0,
        description="Share of the images held out of training; `published`: the dataset's own test "
        "images (mnist, fashion-mnist, cifar10), which are otherwise left out.",
    )
    split_seed: Seed = Field(0, description="Seed of the choice of held-out images.")
    max_megapixels: float = Field(
        100,
        gt=0,
        description="Size limit of source images in megapixels; larger ones are left out, with the "
        "reason in images.csv.",
    )
    value_range: tuple[FiniteFloat, FiniteFloat] | None = Field(
        None,
        description="Numbers that become black and white in gray images of more than 8 bits, such "
        "as `[0, 4095]` for 12 bits in files of 16; those outside are clipped. Without it unsigned "
        "integers of up to 16 bits span their type. Floats, integers with a sign and those of 32 "
        "bits then have one range for the whole dataset: 0 to 1, or 0 to the largest number of 8, "
        "9, ... or 16 bits, the first that holds all of them, else from the lowest to the highest "
        "(`value_range` in summary.json).",
    )
    classifier: Classifier = Field(
        default_factory=Classifier, description="Used by scores with `features: classifier`."
    )
    run: PrepareRun = Field(
        default_factory=PrepareRun, description="Settings of running preparation."
    )

    def problems(self) -> Iterator[str]:
        if self.value_range is not None and self.source.kind in (
            *PUBLISHED_SPLITS,
            "sklearn-digits",
        ):
            yield f"value_range: has no effect on {self.source.kind}, of 8 bits; remove it"
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            yield (
                f"value_range: {list(self.value_range)} has no room between black and white; give "
                "the lower number first, such as [0, 1]"
            )
        if self.eval_fraction == "published" and self.source.kind not in PUBLISHED_SPLITS:
            yield (
                f"eval_fraction: published needs a source of kind {', '.join(PUBLISHED_SPLITS)}; "
                "give a number from 0 to 1, such as 0.2"
            )
