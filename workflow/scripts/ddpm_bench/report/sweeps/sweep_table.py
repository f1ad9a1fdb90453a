"""The table of a sweep: a row for each member, way to score and metric.

A member is an experiment; its setting is its values of all swept keys but seeds. Members of one
setting are its replicates.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ddpm_bench.config.reporting import SweepStage
from ddpm_bench.config.sweep_members import Values, members, short_names
from ddpm_bench.records.failures import RecordedFailure, read_failed
from ddpm_bench.records.progress_log import check_progress, read_attempts
from ddpm_bench.records.score_warnings import SEPARATOR, warnings_about
from ddpm_bench.records.scores import METRICS
from ddpm_bench.report.tables.losses import read_losses
from ddpm_bench.report.tables.score_tables import (
    EVALUATION_COLUMNS,
    OF_SCORES,
    SCORED,
    Kinds,
    best_row,
    ordered_metrics,
    read_table,
    table_of,
    typed,
)

SEED = "train.seed"
OUTCOME = [
    *("images_generated", "images_reference", "feature_dimensions"),
    *("metric", "best_value", "best_std", "best_step"),
    *("final_value", "final_std", "final_step"),
    *("final_loss", "training_seconds"),
]
OK = "ok"
UNSCORED = "not scored"
LAST_SHARE = 10  # final_loss is the mean over the last tenth of a training's rows
KINDS = Kinds(
    OF_SCORES.floats
    | {"best_value", "best_std", "final_value", "final_std", "final_loss", "training_seconds"},
    OF_SCORES.integers | {"best_step", "final_step"},
    frozenset({"channels_repeated"}),
)


def is_replicate(path: str) -> bool:
    """Return True if a swept key only repeats a setting: if it is a seed."""
    return path.rpartition(".")[2] == "seed"


def key_columns(stage: SweepStage) -> list[str]:
    """Return the paths of the swept keys, and of the training's seed, which is always a column."""
    paths = sorted(stage.swept.keys)
    return paths if SEED in paths else [*paths, SEED]


def setting_keys(stage: SweepStage) -> list[str]:
    """Return the paths of the swept keys except seeds."""
    return [path for path in sorted(stage.swept.keys) if not is_replicate(path)]


def columns(stage: SweepStage) -> list[str]:
    """Return the columns of `sweep_table`."""
    return ["sweep", "member", *key_columns(stage), "status", "reason", *SCORED, *OUTCOME]


def cell_text(value: Any) -> str:
    """Return a value of a key as the table holds it: a text unchanged, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def setting_name(stage: SweepStage, values: Values) -> str:
    """Return the name of a setting, like "dim 16, learning_rate 0.001"; "all seeds" if only seeds
    vary."""
    short = short_names(sorted(stage.swept.keys))
    parts = [f"{short[path]} {cell_text(values[path])}" for path in setting_keys(stage)]
    return ", ".join(parts) or "all seeds"


def evaluations(stage: SweepStage, results: Path) -> pd.DataFrame:
    """Return the evaluation tables of all members, concatenated."""
    names = members(stage.sweep, stage.swept)
    files = [results / name / "report" / "evaluation_results.csv" for name in names]
    found = [read_table(path, EVALUATION_COLUMNS) for path in files if path.exists()]
    found = [table for table in found if not table.empty]
    return pd.concat(found, ignore_index=True) if found else table_of([])


def sweep_table(stage: SweepStage, results: Path, evaluation: pd.DataFrame) -> pd.DataFrame:
    """Return a row per member, way to score and metric; one row for a member without scores.

    evaluation: of all members. A failed member has rows with the reason, and the values of
    checkpoints made before the failure.
    """
    rows = []
    for member, values in members(stage.sweep, stage.swept).items():
        keys = {path: cell_text(values.get(path, stage.train_seed)) for path in key_columns(stage)}
        own = evaluation[evaluation["experiment"] == member]
        failed = failure_in(results / member)
        trained = {
            "final_loss": final_loss(results / member),
            "training_seconds": training_seconds(results / member),
        }
        for outcome in outcomes(own, failed):
            rows.append({"sweep": stage.sweep, "member": member, **keys, **outcome, **trained})
    return typed(pd.DataFrame(rows, columns=columns(stage)), KINDS)


def outcomes(own: pd.DataFrame, failed: RecordedFailure | None) -> Iterator[dict[str, Any]]:
    """Yield the results of one member by way to score and metric."""
    status = {"status": OK, "reason": ""}
    if failed is not None:
        status = {"status": failed.status, "reason": failed.reason}
    if own.empty:
        yield status
    for scored, group in own.groupby(SCORED, sort=True):
        about = dict(zip(SCORED, scored, strict=True))
        last = group.sort_values("training_step").iloc[-1]
        for name in ("images_generated", "images_reference", "feature_dimensions"):
            about[name] = group[name].max()
        for metric in ordered_metrics(group):
            best = best_row(group, metric)
            found = {"metric": metric.column}
            if best is not None:
                found |= _at("best", best, metric.column) | _at("final", last, metric.column)
            elif failed is None:
                reasons = warnings_about([str(last["warning"])], [metric.column])
                status = {"status": UNSCORED, "reason": SEPARATOR.join(reasons)}
            yield {**status, **about, **found}


def _at(which: str, row: pd.Series, column: str) -> dict[str, Any]:
    std = METRICS[column].std
    return {
        f"{which}_value": row[column],
        f"{which}_std": None if std is None else row[std],
        f"{which}_step": row["training_step"],
    }


def failure_in(experiment: Path) -> RecordedFailure | None:
    """Return the failure recorded in the manifests of a training's jobs; None if there is none."""
    found = (read_failed(path) for path in sorted((experiment / "training").glob("job-*.json")))
    return next((failed for failed in found if failed is not None), None)


def final_loss(experiment: Path) -> float:
    """Return the mean training loss of the last tenth of the rows; NaN if there are none."""
    if not (experiment / "metrics.csv").exists():
        return np.nan
    losses = read_losses(experiment / "metrics.csv")["loss"]
    return float(losses.tail(max(1, len(losses) // LAST_SHARE)).mean())


def training_seconds(experiment: Path) -> float:
    """Return the training time in seconds over all recorded attempts; NaN if there are none."""
    check_progress(experiment / "progress.jsonl")
    attempts = read_attempts(experiment / "progress.jsonl")
    return sum(attempt.seconds for attempt in attempts) if attempts else np.nan
