"""`scores:`, named ways to measure a set of samples against the dataset."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from .keys import Keys, Name, PositiveInt, Seed, Sha256

# TensorFlow's FID Inception of 2015-12-05, converted by pytorch-fid and torch-fidelity alike.
PUBLISHED_INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
PUBLISHED_INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
PUBLISHED_INCEPTION_URLS = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
)


class InceptionWeights(Keys):
    """A local file of weights for the Inception network, in torch-fidelity's layout."""

    path: str = Field(description="The file; relative to where snakemake is started.")
    sha256: Sha256 = Field(PUBLISHED_INCEPTION_SHA256, description="Checksum of the file.")
    name: Name | None = Field(
        None, description="What tables and figures call weights other than the published ones."
    )

    def problems(self) -> Iterator[str]:
        if (self.sha256 == PUBLISHED_INCEPTION_SHA256) != (self.name is None):
            yield (
                "weights with another sha256 than the published one need a `name`, "
                "which marks their scores everywhere; the published weights take none"
            )


class ScoreRun(Keys):
    """How scoring is run; never changes a result."""

    cpus: PositiveInt = Field(2, description="CPU cores of each job.")
    batch_size: PositiveInt = Field(64, description="Images per forward pass of the features.")


class Measuring(Keys):
    """What decides the numbers."""

    kid_subset_size: PositiveInt | None = Field(
        None, ge=2, description="null: min(1000, generated, reference)."
    )
    kid_subsets: PositiveInt = Field(100, description="Random subsets that KID is averaged over.")
    isc_splits: PositiveInt = Field(10, description="Parts of the set that IS is averaged over.")
    prc_neighborhood: PositiveInt = Field(3, description="k of the k-nearest-neighbour manifolds.")
    seed: Seed = Field(2020, lt=2**32, description="Of KID's subsets and of IS's splits.")


class Score(Measuring):
    """One way to score; it is applied to every set of samples of its experiment."""

    features: Literal["classifier", "inception"] = Field(
        description="classifier: trained on the dataset's labels, which it needs (sub-folders, or "
        "a labelled dataset); inception: the field's network."
    )
    reference: Literal["train", "eval", "all"] = Field(
        "train", description="Images that samples are held against; the literature takes train."
    )
    weights: InceptionWeights | None = Field(
        None, description="Local Inception weights; null: the published file, downloaded once."
    )
    run: ScoreRun = Field(default_factory=ScoreRun, description="How scoring is run.")

    def problems(self) -> Iterator[str]:
        if self.weights is not None and self.features != "inception":
            yield "`weights` are an option of `features: inception`; remove them"

    @property
    def feature_space(self) -> str:
        """Its name in paths and tables: classifier, inception, inception-NAME of other weights."""
        if self.weights is None or self.weights.name is None:
            return self.features
        return f"{self.features}-{self.weights.name}"


class FeatureStage(Keys):
    """What determines the features of images: a program's `--what`."""

    version: PositiveInt
    features: Literal["classifier", "inception"]
    weights_sha256: Sha256 | None = None
    weights_name: Name | None = None  # of weights other than the published ones

    def problems(self) -> Iterator[str]:
        if (self.features == "inception") != (self.weights_sha256 is not None):
            yield "`features: inception` needs weights_sha256, and only it takes one"

    @property
    def feature_space(self) -> str:
        """The name of the feature space in paths and tables, as in `Score`."""
        return f"{self.features}-{self.weights_name}" if self.weights_name else self.features


class ScoreStage(Keys):
    """What determines scores, but the images and the reference: a program's `--what`."""

    version: PositiveInt
    images: PositiveInt
    reference: Literal["train", "eval", "all"]
    features: FeatureStage
    measuring: Measuring = Field(default_factory=Measuring)
