"""`scores:`, named ways to compare a set of samples with the dataset."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from ddpm_bench.config.block import (
    BatchSize,
    Block,
    Checkpoints,
    Cores,
    Images,
    Name,
    PositiveInt,
    Repeats,
    Seed,
    Sha256,
)
from ddpm_bench.config.paths import InputFile

# TensorFlow's FID Inception of 2015-12-05, converted by pytorch-fid and torch-fidelity alike.
PUBLISHED_INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
PUBLISHED_INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
PUBLISHED_INCEPTION_URLS = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
)


# torch-fidelity's names of the DINOv2 networks, and the dimensions of their features.
DINOV2_DIMENSIONS = {"vit-s-14": 384, "vit-b-14": 768, "vit-l-14": 1024, "vit-g-14": 1536}

KID_SUBSETS = 100  # torch-fidelity's


class Weights(Block):
    """A local file of weights: Inception's in torch-fidelity's layout, or DINOv2's safetensors."""

    path: InputFile = Field(
        description="The file, relative to the folder in which snakemake is started."
    )
    sha256: Sha256 = Field(PUBLISHED_INCEPTION_SHA256, description="Checksum of the file.")
    name: Name | None = Field(
        None,
        description="Name in tables and figures of weights other than the published Inception's; "
        f"for dinov2 one of {', '.join(DINOV2_DIMENSIONS)}.",
    )

    def problems(self) -> Iterator[str]:
        if (self.sha256 == PUBLISHED_INCEPTION_SHA256) != (self.name is None):
            yield (
                "weights with another sha256 than the published one need a `name`, "
                "which marks their scores everywhere; the published weights take none"
            )


class Statistics(Block):
    """Published statistics of a dataset: an .npz with mu [D] and sigma [D, D] of its features."""

    path: InputFile = Field(
        description="The file, relative to the folder in which snakemake is started."
    )
    name: Name = Field(description="Name in tables and figures, such as cifar10-train.")

    def problems(self) -> Iterator[str]:
        if self.name in ("train", "eval", "all"):
            yield f"name = {self.name!r}: in tables it would look like a split; name the dataset"


class ScoreRun(Block):
    """Settings of running scoring, which never change a result."""

    checkpoints_per_job: Checkpoints = Field(
        1,
        description="Checkpoints of a training job that one SLURM job scores, one after the "
        "other on one GPU; if one fails, the job's finished ones are scored again.",
    )
    cpus: Cores = Field(
        2,
        description="CPU cores of each job; fewer where `--cores` or OMP_NUM_THREADS are less.",
    )
    batch_size: BatchSize = Field(16, description="Images per forward pass of the features.")


class ScoreSettings(Block):
    """Settings of the metrics, which decide their values."""

    kid_subset_size: Images | None = Field(
        None,
        ge=2,
        description="Images of each of KID's subsets, as in torch-fidelity; null: all pairs of "
        "images (above 5,000 in disjoint parts), with the standard deviation over their choice.",
    )
    kid_subsets: Repeats = Field(
        KID_SUBSETS,
        description="Random subsets of `kid_subset_size` images that KID is averaged over.",
    )
    isc_splits: Images = Field(10, description="Parts of the set that IS is averaged over.")
    prc_neighborhood: Images = Field(
        3, description="k of precision's and recall's manifolds (Kynkaanniemi et al. 2019)."
    )
    density_neighborhood: Images = Field(
        5, description="k of density's and coverage's manifolds (Naeem et al. 2020)."
    )
    fid_backend: Literal["torch-fidelity", "pytorch-fid"] = Field(
        "torch-fidelity",
        description="Package whose resizing of images FID uses; pytorch-fid takes a second pass.",
    )
    seed: Seed = Field(
        2020,
        lt=2**32,
        description="Seed of KID's subsets, of IS's splits and of the pairs of images in FID's "
        "standard deviation.",
    )

    @model_validator(mode="before")
    @classmethod
    def _without_removed_keys(cls, data: Any) -> Any:
        if isinstance(data, dict) and "fid_bootstrap" in data:
            raise ValueError(
                "`fid_bootstrap` is no key any more: FID's standard deviation has a formula and "
                "needs no resamples (docs/scores.md); remove it"
            )
        return data


class Score(ScoreSettings):
    """One way to score; it is applied to every set of samples of its experiment."""

    features: Literal["classifier", "inception", "dinov2"] = Field(
        description="Network of the features. classifier: trained here, needs labels "
        "(sub-folders, or a labelled dataset); inception: the usual one; dinov2: with local "
        "`weights`."
    )
    reference: Literal["train", "eval", "all"] = Field(
        "train", description="Images that samples are compared with; the literature uses train."
    )
    fid_statistics: Statistics | None = Field(
        None,
        description="Published statistics that FID alone is compared with; null: `reference`, as "
        "for all other scores.",
    )
    weights: Weights | None = Field(
        None,
        description="Local weights; null: the published Inception file, downloaded once.",
    )
    run: ScoreRun = Field(default_factory=ScoreRun, description="Settings of running scoring.")

    def problems(self) -> Iterator[str]:
        if self.weights is not None and self.features == "classifier":
            yield "`weights` are an option of `features: inception` and `dinov2`; remove them"
        if self.features == "dinov2" and (
            self.weights is None or self.weights.name not in DINOV2_DIMENSIONS
        ):
            yield (
                "`features: dinov2` needs local `weights: {path, sha256, name}`, with a name of "
                f"{', '.join(DINOV2_DIMENSIONS)}"
            )
        if self.kid_subset_size is None and self.kid_subsets != KID_SUBSETS:
            yield (
                f"kid_subsets = {self.kid_subsets} needs a `kid_subset_size`: without one KID is "
                "over all pairs of images; add it, or remove kid_subsets"
            )
        if self.features != "inception":
            if self.fid_backend == "pytorch-fid":
                yield "`fid_backend: pytorch-fid` is Inception's; set `features: inception`"
            if self.fid_statistics is not None:
                yield "`fid_statistics` are of Inception's features; set `features: inception`"

    @property
    def feature_space(self) -> str:
        """Name in paths and tables: classifier, inception, or inception-NAME for other weights."""
        return _named(self.features, self.weights)

    @property
    def fid_space(self) -> str:
        """Feature space of FID, which differs from that of other metrics with pytorch-fid."""
        if self.fid_backend == "torch-fidelity":
            return self.feature_space
        return _named(self.fid_backend, self.weights)


def _named(space: str, weights: Weights | None) -> str:
    return space if weights is None or weights.name is None else f"{space}-{weights.name}"


class FeatureStage(Block):
    """All that determines features besides the images: `--what` of reference_features.py."""

    version: PositiveInt
    # pytorch-fid: the same network after that program's own resize, for `fid_backend`.
    features: Literal["classifier", "inception", "dinov2", "pytorch-fid"]
    weights_sha256: Sha256 | None = None
    weights_name: Name | None = None  # for weights other than the published ones

    def problems(self) -> Iterator[str]:
        if (self.features == "classifier") != (self.weights_sha256 is None):
            yield "every feature space but the classifier's needs weights_sha256"

    @property
    def feature_space(self) -> str:
        """Name of the feature space in paths and tables, as in `Score`."""
        return f"{self.features}-{self.weights_name}" if self.weights_name else self.features


class ScoreStage(Block):
    """All that determines scores besides images and reference: `--what` of score.py.

    images: number of samples to score; None for all.
    """

    version: PositiveInt
    images: PositiveInt | None = None
    reference: Literal["train", "eval", "all"]
    fid_statistics: Name | None = None  # their name; their content is an input
    features: FeatureStage
    measuring: ScoreSettings = Field(default_factory=ScoreSettings)
