"""`published:`, what the literature reports, to be drawn beside what is measured here."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from ddpm_bench.config.block import Block, Name, PositiveInt
from ddpm_bench.config.selection import MetricName, metric_column


class PublishedScore(Block):
    """A published score: a dashed line in figures of the same dataset and feature space, and a row
    of the table of best scores."""

    metric: MetricName = Field(description="Which score it is.")
    value: float = Field(description="As published.")
    source: str = Field(min_length=1, max_length=60, description="Who says so: Ho et al. 2020.")
    feature_space: Annotated[
        str, Field(pattern=r"^(classifier|inception(-[\w.-]+)?|dinov2-[\w.-]+)$")
    ] = Field(description="As the tables name it, such as inception.")
    reference: Literal["train", "eval", "all"] = Field(
        "train", description="The images that it was held against."
    )
    fid_backend: Literal["torch-fidelity", "pytorch-fid"] = Field(
        "torch-fidelity",
        description="Whose resize FID's features have; TensorFlow's own is that of torch-fidelity.",
    )
    fid_statistics: Name | None = Field(
        None, description="FID's published statistics by name, as of `scores`; null: `reference`."
    )
    note: str = Field("", description="What else should be known, for the table.")

    @property
    def column(self) -> str:
        """The column of the tables that it stands beside."""
        return metric_column(self.metric)

    @property
    def fid_reference(self) -> str:
        """What the tables say that FID is held against."""
        return self.fid_statistics or self.reference

    def problems(self) -> Iterator[str]:
        if self.column != "fid":
            for name in ("fid_backend", "fid_statistics"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    yield f"{name} is an option of fid, not of {self.metric}; remove it"


class PublishedOf(PublishedScore):
    """A published score and the dataset that it is of."""

    dataset: Name


class CompareStage(Block):
    """What decides the comparison of all experiments, but their scores."""

    version: PositiveInt
    published: tuple[PublishedOf, ...] = ()
    drawn: tuple[Name, ...] | None = None  # the experiments that figures show; None: all


class ScoreFiguresStage(Block):
    """What decides a figure of scores, but the scores: a program's `--what`."""

    version: PositiveInt
    published: tuple[PublishedOf, ...] = ()
