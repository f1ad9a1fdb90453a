"""`published:`, scores of the literature, shown beside measured ones."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from ddpm_bench.config.block import Block, Name, PositiveInt
from ddpm_bench.config.selection import MetricName, metric_column


class PublishedScore(Block):
    """A score from the literature.

    It is a dashed line in figures of the same dataset and feature space, and a row of the table of
    best scores.
    """

    metric: MetricName = Field(description="Metric of the score.")
    value: float = Field(description="Published value.")
    source: str = Field(
        min_length=1, max_length=60, description="Source, such as `Ho et al. 2020`."
    )
    feature_space: Annotated[
        str, Field(pattern=r"^(classifier|inception(-[\w.-]+)?|dinov2-[\w.-]+)$")
    ] = Field(description="Name of the feature space in the tables, such as inception.")
    reference: Literal["train", "eval", "all"] = Field(
        "train", description="Images that it was compared with."
    )
    fid_backend: Literal["torch-fidelity", "pytorch-fid"] = Field(
        "torch-fidelity",
        description="Package whose resizing of images FID used; choose torch-fidelity for "
        "TensorFlow's own.",
    )
    fid_statistics: Name | None = Field(
        None, description="Name of FID's published statistics, as in `scores`; null: `reference`."
    )
    note: str = Field("", description="Remark for the table.")

    @property
    def column(self) -> str:
        """Column of the tables that has the same metric."""
        return metric_column(self.metric)

    @property
    def fid_reference(self) -> str:
        """Reference of FID by its name in the tables."""
        return self.fid_statistics or self.reference

    def problems(self) -> Iterator[str]:
        if self.column != "fid":
            for name in ("fid_backend", "fid_statistics"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    yield f"{name} is an option of fid, not of {self.metric}; remove it"


class PublishedOf(PublishedScore):
    """A published score and its dataset."""

    dataset: Name


class CompareStage(Block):
    """All that decides the comparison of all experiments besides their scores."""

    version: PositiveInt
    published: tuple[PublishedOf, ...] = ()
    drawn: tuple[Name, ...] | None = None  # experiments in figures; None: all


class ScoreFiguresStage(Block):
    """All that decides a figure of scores besides the scores: a program's `--what`."""

    version: PositiveInt
    published: tuple[PublishedOf, ...] = ()
