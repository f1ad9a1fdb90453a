"""The table of GPU-hours that a training had used at each checkpoint, from progress.jsonl."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from ddpm_bench.config.reporting import TrainingPrerequisites
from ddpm_bench.records.benchmark_files import measured
from ddpm_bench.records.progress_log import (
    ProgressEvent,
    check_progress,
    read_events,
    taken_until,
)

COLUMNS = [
    *("experiment", "training_step", "wall_hours", "process_hours", "processes_are"),
    *("autoencoder", "autoencoder_hours"),
]
GPU, CPU = "GPU", "CPU"
SECONDS_PER_HOUR = 3600.0


def training_hours(
    results: Path,
    evaluation: pd.DataFrame,
    experiments: Mapping[str, TrainingPrerequisites],
    has_gpus: bool,
) -> pd.DataFrame:
    """Return the training time at each scored checkpoint; columns: COLUMNS.

    `process_hours` are hours of the wall clock times processes, over all attempts, and include
    `autoencoder_hours`, the training of the autoencoder. Checkpoints of unknown time have no row.
    has_gpus: True if this machine has GPUs, which trainings without SLURM then held.
    """
    rows = [
        row
        for experiment, keys in experiments.items()
        for row in hours_of(
            results,
            experiment,
            sorted(evaluation["training_step"][evaluation["experiment"] == experiment].unique()),
            keys,
            has_gpus,
        )
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def hours_of(
    results: Path, experiment: str, steps: list[int], keys: TrainingPrerequisites, has_gpus: bool
) -> Iterator[dict[str, object]]:
    """Yield the rows of one experiment."""
    before = 0.0 if keys.autoencoder is None else hours_in_all(results, keys.autoencoder)
    held = GPU if held_gpus(results, experiment, has_gpus) else CPU
    events = checked_events(results, experiment)
    for step, taken in taken_until(events, [int(step) for step in steps]).items():
        yield {
            "experiment": experiment,
            "training_step": step,
            "wall_hours": taken.wall_seconds / SECONDS_PER_HOUR,
            "process_hours": before + taken.process_seconds / SECONDS_PER_HOUR,
            "processes_are": held,
            "autoencoder": keys.autoencoder or "",
            "autoencoder_hours": before,
        }


def hours_in_all(results: Path, training: str) -> float:
    """Return the process-hours of a training up to its last step."""
    events = checked_events(results, training)
    last = max((event["step"] for event in events), default=0)
    taken = taken_until(events, [last])
    return taken[last].process_seconds / SECONDS_PER_HOUR if last in taken else 0.0


def checked_events(results: Path, training: str) -> list[ProgressEvent]:
    """Return the events of a training; raise UserError if its log is damaged."""
    path = results / training / "progress.jsonl"
    check_progress(path)
    return read_events(path)


def held_gpus(results: Path, training: str, has_gpus: bool) -> bool:
    """Return True if a training's processes had GPUs, according to its jobs' benchmark files."""
    name = re.compile(rf"{re.escape(training)}\.\d+-\d+\.benchmark\.tsv")
    files = [
        path for path in (results / "logs" / "train").glob("*.tsv") if name.fullmatch(path.name)
    ]
    jobs = [measured(path, "train", training, "", has_gpus) for path in files]
    return any(job.gpus for job in jobs) if jobs else has_gpus
