"""Choice of the exported checkpoint: the best by one metric of one set of samples."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ddpm_bench.config.experiment import Experiment
from ddpm_bench.errors import UserError
from ddpm_bench.records.json_record import read_record
from ddpm_bench.records.scores import METRICS, Metric
from ddpm_bench.training.manifests import checkpoint_entry, checkpoint_file, is_thinned


@dataclass(frozen=True)
class Winner:
    """Best checkpoint, and the row of the evaluation table that chose it."""

    row: pd.Series
    metric: Metric
    sigma_rel: float | None  # relative width of its average; None: the average of train.ema_decay
    manifest: Path
    weights: Path  # whose sha256 the manifest names
    sha256: str
    candidates: int  # number of checkpoints that it is the best of
    equal: int  # number of other checkpoints with the same value
    # Rows of better ones, best first, whose weights `keep` had removed before this score.
    passed_over: list[pd.Series]

    @property
    def step(self) -> int:
        """Training step of the checkpoint."""
        return int(self.row["training_step"])


def deciding(keys: Experiment) -> tuple[str, str, Metric]:
    """Return the set of samples, the way to score and the metric that decide."""
    assert keys.best is not None
    samples = keys.best.samples or next(iter(keys.samples))
    return samples, keys.best.score or next(iter(keys.scores)), METRICS[keys.best.column]


def winner(keys: Experiment, evaluation: pd.DataFrame, manifests: list[Path]) -> Winner | None:
    """Return the best checkpoint of an experiment, or None if its metric was never measured.

    Of equal ones the earliest is taken. evaluation: a table as `evaluation_table` makes it;
    manifests: of the experiment's training jobs. Raises UserError if the weights of every measured
    checkpoint are missing.
    """
    samples, score, metric = deciding(keys)
    own = (evaluation["samples"] == samples) & (evaluation["score"] == score)
    measured = evaluation[own].dropna(subset=[metric.column])
    ranked = measured.sort_values(
        [metric.column, "training_step"], ascending=[metric.lower_is_better, True], kind="stable"
    )
    sigma_rel = keys.samples[samples].ema_sigma_rel
    passed_over: list[pd.Series] = []
    for _, row in ranked.iterrows():
        step = int(row["training_step"])
        manifest = manifest_of(step, manifests)
        last = len(passed_over) == len(ranked) - 1
        if is_thinned(manifest, step, sigma_rel) and not last:
            passed_over.append(row)
            continue
        weights = checkpoint_file(manifest, step, sigma_rel)
        sha256 = checkpoint_entry(manifest, step, sigma_rel)["sha256"]
        equal = int((ranked[metric.column] == row[metric.column]).sum()) - 1
        return Winner(
            row, metric, sigma_rel, manifest, weights, sha256, len(ranked), equal, passed_over
        )
    return None


def manifest_of(step: int, manifests: list[Path]) -> Path:
    """Return the manifest of the job that made a step's checkpoint; raise UserError if none did."""
    for manifest in manifests:
        if any(
            entry["step"] == step for entry in read_record(manifest, "checkpoints")["checkpoints"]
        ):
            return manifest
    raise UserError(
        f"no manifest names a checkpoint of step {step}; give those of all training jobs: "
        f"{', '.join(map(str, manifests)) or 'none is given'}"
    )


def scores_of(winner: Winner, keys: Experiment, evaluation: pd.DataFrame) -> pd.DataFrame:
    """Return every score of the winner's weights: rows of all sets that are drawn from them."""
    same = [
        name for name, samples in keys.samples.items() if samples.ema_sigma_rel == winner.sigma_rel
    ]
    at_step = evaluation["training_step"] == winner.step
    return evaluation[at_step & evaluation["samples"].isin(same)]


def passed_over_texts(winner: Winner) -> Iterator[str]:
    """Yield a sentence for each better checkpoint whose weights were removed."""
    for row in winner.passed_over:
        yield (
            f"step {row['training_step']:,} had {winner.metric.name} "
            f"{row[winner.metric.column]:.6g}, but `keep` had removed its weights"
        )
