"""`best:` and `keep:`, the checkpoints to export and to keep."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import Field

from ddpm_bench.config.block import Block, Name, PositiveInt, Steps

# The field's short names, and the columns of the tables; both are understood.
MetricName = Literal[
    "fid", "kid", "is", "precision", "recall", "density", "coverage", "kid_mean", "is_mean"
]
SHORT_NAMES = {"kid": "kid_mean", "is": "is_mean"}
LOWER_IS_BETTER = frozenset({"fid", "kid_mean"})  # columns; of all others higher is better


def metric_column(name: str) -> str:
    """Return the column of the tables for a metric's name, short or long."""
    return SHORT_NAMES.get(name, name)


class Best(Block):
    """Export of the best checkpoint, once all are scored, to results/<experiment>/best/.

    It has weights, config, samples, scores, a model card and a short program that draws from it.
    """

    metric: MetricName = Field(description="Metric that decides; `kid` and `is` are the means.")
    greater_is_better: bool | None = Field(
        None, description="The metric's own sense, as a check; null: no check."
    )
    samples: Name | None = Field(
        None, description="Set of samples that decides; null: the only one."
    )
    score: Name | None = Field(None, description="Score that decides; null: the only one.")

    @property
    def column(self) -> str:
        """Column of the tables that decides."""
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
        """Yield messages for `samples` and `score` that the experiment does not have."""
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
    """All that decides the export besides weights and scores: `--what` of best.py.

    config: the parsed config of this experiment alone.
    """

    version: PositiveInt
    experiment: Name
    config: dict[str, Any]


class Keep(Block):
    """Removal of the weights of scored checkpoints, to save disk space.

    Each n-th, the best by each metric and the latest stay. The removal cannot be undone.
    """

    every: Steps = Field(description="Each n-th checkpoint stays; 1: all stay.")


class ThinSet(Block):
    """Checkpoints and average of the weights that a set of samples is drawn from."""

    steps: tuple[PositiveInt, ...]
    ema_sigma_rel: float | None = None


class ThinStage(Block):
    """All that decides the checkpoints to keep besides their scores: `--what` of thin.py."""

    version: PositiveInt
    keep: Keep
    checkpoint_every: PositiveInt
    sets: dict[Name, ThinSet] = Field({})
    scores: tuple[Name, ...] = ()
