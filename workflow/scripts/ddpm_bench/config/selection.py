"""`best:`, which checkpoint of an experiment is exported."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import Field

from ddpm_bench.config.block import Block, Name, PositiveInt

# The field's short names, and the columns of the tables; both are understood.
MetricName = Literal[
    "fid", "kid", "is", "precision", "recall", "density", "coverage", "kid_mean", "is_mean"
]
SHORT_NAMES = {"kid": "kid_mean", "is": "is_mean"}
LOWER_IS_BETTER = frozenset({"fid", "kid_mean"})  # of the columns; tables.METRICS says the same


def metric_column(name: str) -> str:
    """The column of the tables that a metric's name stands for."""
    return SHORT_NAMES.get(name, name)


class Best(Block):
    """Export the best checkpoint, once all are scored, to results/<experiment>/best/: weights,
    config, samples, scores, a model card and a short program that draws from it."""

    metric: MetricName = Field(description="What decides; `kid` and `is` are the means.")
    greater_is_better: bool | None = Field(
        None, description="Says the metric's own sense once more, and must agree with it; or null."
    )
    samples: Name | None = Field(
        None, description="The set of samples that decides; null: the only one there is."
    )
    score: Name | None = Field(None, description="The way to score; null: the only one there is.")

    @property
    def column(self) -> str:
        """The column of the tables that decides."""
        return metric_column(self.metric)

    def problems(self) -> Iterator[str]:
        lower = self.column in LOWER_IS_BETTER
        if self.greater_is_better is not None and self.greater_is_better == lower:
            sense = "lower" if lower else "higher"
            yield (
                f"greater_is_better = {str(self.greater_is_better).lower()}: a {sense} "
                f"{self.metric} is the better one; leave the key out"
            )

    def misfits(self, samples: Iterable[str], scores: Iterable[str]) -> Iterator[str]:
        """What does not fit the experiment's sets of samples and ways to score."""
        for key, kind, given, known in (
            ("samples", "set of samples", self.samples, list(samples)),
            ("score", "score", self.score, list(scores)),
        ):
            listed = ", ".join(known) or "none"
            if given is not None and given not in known:
                yield f"best.{key} = {given!r}: no such {kind}; there are: {listed}"
            elif given is None and len(known) != 1:
                yield f"best.{key}: name the {kind} that decides; there are: {listed}"


class BestStage(Block):
    """What decides the export, but weights and scores: a program's `--what`.

    `config`: what the config says of this experiment alone, as a config file of its own.
    """

    version: PositiveInt
    experiment: Name
    config: dict[str, Any]


class Keep(Block):
    """Remove weights of checkpoints that are drawn from and scored, to save disk space: each n-th,
    the best by each metric and the latest stay. What is removed does not come back."""

    every: PositiveInt = Field(description="Each n-th checkpoint stays; 1: all do.")


class ThinSet(Block):
    """What a set of samples asks for."""

    steps: tuple[PositiveInt, ...]
    ema_sigma_rel: float | None = None


class ThinStage(Block):
    """What decides which checkpoints stay, but their scores: a program's `--what`."""

    version: PositiveInt
    keep: Keep
    checkpoint_every: PositiveInt
    sets: dict[Name, ThinSet] = Field({})
    scores: tuple[Name, ...] = ()
