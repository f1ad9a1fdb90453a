"""State of a study, from the files on disk and SLURM's queue: no lock, no DAG, no torch.

As far as any machine that sees its folder can tell: steps trained, images per second, samples and
scores done, jobs that run and wait, the newest failures.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from ddpm_bench.config.experiment import Config
from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json
from ddpm_bench.planning.benchmark_cells import cell_files
from ddpm_bench.planning.current_results import CurrentResults
from ddpm_bench.planning.jobs import (
    all_sample_files,
    finished_jobs,
    manifest,
    score_files,
    work_names,
)
from ddpm_bench.planning.retraining import retraining
from ddpm_bench.planning.retries import drawing_notes, failure_of, remedy
from ddpm_bench.records.cell_record import Status
from ddpm_bench.records.progress_log import Attempt, read_attempts
from ddpm_bench.runs import slurm_queue
from ddpm_bench.runs.job_failures import JobFailure, newest_failures
from ddpm_bench.runs.main_process import MainProcess, main_processes
from ddpm_bench.training.ownership import (
    MISSED_RENEWALS,
    Description,
    last_renewal,
    read_description,
)

NEWEST_SCORES = 3
CELL_RULE = "measure_cell"


@dataclass(frozen=True)
class TrainingProcess:
    """The process that trains an experiment now."""

    process: int
    host: str
    of_this_machine: bool
    slurm_job: str | None
    heard_seconds_ago: float  # since its last sign of life


@dataclass(frozen=True)
class NewestScore:
    """A score of one of the latest checkpoints."""

    score: str
    samples: str
    step: int
    feature_space: str
    fid: float | None
    kid: float | None
    inception_score: float | None


@dataclass(frozen=True)
class ExperimentState:
    """State of one experiment or autoencoder."""

    name: str
    dataset: str
    steps_done: int
    steps: int
    images_per_second: float | None  # of the training that runs, or ran last
    seconds_left: float | None  # of training, at that speed
    trainer: TrainingProcess | None
    samples_done: int  # files
    samples: int
    scores_done: int
    scores: int
    newest_scores: list[NewestScore]
    jobs: list[slurm_queue.SlurmJob]
    failures: list[JobFailure]  # newest first
    notes: list[str]


@dataclass(frozen=True)
class BenchmarkState:
    """State of the throughput benchmark."""

    cells_done: int
    cells: int
    statuses: dict[str, int]  # of the cells that are done; none at 0
    jobs: list[slurm_queue.SlurmJob]
    failures: list[JobFailure]  # newest first


@dataclass(frozen=True)
class Overview:
    """State of a workflow."""

    config_file: str
    folder: str
    time: str  # ISO 8601
    main: list[MainProcess]
    slurm_error: str | None  # where squeue failed
    experiments: list[ExperimentState]
    benchmark: BenchmarkState | None = None  # where the config has one
    shared_jobs: list[slurm_queue.SlurmJob] = field(
        default_factory=list
    )  # of datasets and of all experiments
    shared_failures: list[JobFailure] = field(default_factory=list)


def overview(config: Config, config_file: Path, folder: Path) -> Overview:
    """Return the state of the workflow of a config; folder: the one that snakemake runs in."""
    jobs, slurm_error = [], None
    try:
        jobs = slurm_queue.jobs_of(config, slurm_queue.queue(folder, ended=True))
    except UserError as error:
        slurm_error = str(error)
    failures = newest_failures(config, folder, jobs)
    active = [slurm_queue.with_details(job) if job.nodes else job for job in jobs if job.is_active]
    about = {
        job.id: slurm_queue.belongs_to_study(config, job.rule, job.wildcards) for job in active
    }
    return Overview(
        config_file=str(config_file),
        folder=str(folder.resolve()),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        main=main_processes(Path(config.results_dir), work_names(config)),
        slurm_error=slurm_error,
        experiments=[
            experiment_state(
                config,
                name,
                [job for job in active if about[job.id] == name],
                [failure for failure in failures if failure.about == name],
            )
            for name in config.trainings
        ],
        benchmark=benchmark_state(
            config,
            [job for job in active if job.rule == CELL_RULE],
            [failure for failure in failures if failure.rule == CELL_RULE],
        ),
        shared_jobs=[
            job for job in active if about[job.id] not in config.trainings and job.rule != CELL_RULE
        ],
        shared_failures=[
            failure
            for failure in failures
            if failure.about not in config.trainings and failure.rule != CELL_RULE
        ],
    )


def benchmark_state(
    config: Config, jobs: list[slurm_queue.SlurmJob], failures: list[JobFailure]
) -> BenchmarkState | None:
    """Return the state of the benchmark; None where the config has none.

    jobs: jobs of cells that run or wait; failures: of cells, newest first.
    """
    if config.benchmark is None:
        return None
    files = [Path(path) for path in cell_files(config)]
    counts = Counter(read_json(path)["status"] for path in files if path.exists())
    statuses = {name: counts[name] for name in get_args(Status) if counts[name]}
    return BenchmarkState(sum(statuses.values()), len(files), statuses, jobs, failures)


def experiment_state(
    config: Config, name: str, jobs: list[slurm_queue.SlurmJob], failures: list[JobFailure]
) -> ExperimentState:
    """Return the state of one experiment or autoencoder.

    jobs: its jobs that run or wait; failures: its failures, newest first.
    """
    train = config.trainings[name].train
    folder = Path(config.results_dir, name)
    trainer = current_trainer(folder / "training")
    attempts = read_attempts(folder / "progress.jsonl")
    current = CurrentResults(config)
    done = min(steps_done(current, name, trainer, attempts), train.steps)
    speed = newest_speed(attempts)
    samples = all_sample_files(config, name)
    drawn = [path for path in samples if Path(path).exists() and current.are_current(path)]
    scores = score_files(config, name)
    scored = [Path(path) for path in scores if Path(path).exists() and current.are_current(path)]
    return ExperimentState(
        name=name,
        dataset=config.trainings[name].dataset,
        steps_done=done,
        steps=train.steps,
        images_per_second=speed,
        seconds_left=(train.steps - done) * train.batch_size / speed if speed else None,
        trainer=trainer,
        samples_done=len(drawn),
        samples=len(samples),
        scores_done=len(scored),
        scores=len(scores),
        newest_scores=newest_scores(scored),
        jobs=jobs,
        failures=failures,
        notes=list(notes_on(config, name)),
    )


def steps_done(
    current: CurrentResults, name: str, trainer: TrainingProcess | None, attempts: list[Attempt]
) -> int:
    """Return the steps of a training that are done: while it runs, by its progress file; else those
    that are saved. A training that failed ends where it failed, one that begins anew has none."""
    config = current.config
    failed = failure_of(config, name)
    if failed is not None:
        return failed.step
    if retraining(config, name) is not None:
        return 0
    if trainer is not None and attempts:
        return attempts[-1].step
    jobs = finished_jobs(config, name)
    if not all(current.are_current(manifest(config, name, *job)) for job in jobs):
        return 0
    made = [last for _, last in jobs]
    return max([0, *made, *(attempt.saved for attempt in attempts[-1:])])


def newest_speed(attempts: list[Attempt]) -> float | None:
    """Return the images per second of the last attempt that measured them."""
    speeds = [attempt.images_per_second for attempt in attempts if attempt.images_per_second]
    return speeds[-1] if speeds else None


def notes_on(config: Config, name: str) -> Iterator[str]:
    """Yield notes: the training begins anew, or failed; samples could not be drawn."""
    note = retraining(config, name)
    if note is not None:
        yield note
    failed = failure_of(config, name)
    if failed is not None:
        yield f"training failed: {failed.in_words()} ({remedy(config, name)})"
    if name in config.experiments:
        yield from drawing_notes(config, name)


def current_trainer(folder: Path) -> TrainingProcess | None:
    """Return the process that trains in a folder, as far as this machine can tell, or None."""
    owner = read_description(folder)
    if owner is None or owner.released:
        return None
    ago = _seconds_since_renewal(folder, owner)
    if ago is None or ago > MISSED_RENEWALS * owner.renew_seconds:
        return None
    here = owner.is_of_this_machine()
    if here and not _is_there(owner.process):
        return None
    return TrainingProcess(owner.process, owner.host, here, owner.slurm_job, max(0.0, ago))


def _seconds_since_renewal(folder: Path, owner: Description) -> float | None:
    renewed = last_renewal(folder, owner.token)
    try:
        return time.time() - datetime.fromisoformat(renewed).timestamp()
    except ValueError:
        return None


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def newest_scores(files: Iterable[Path]) -> list[NewestScore]:
    """Return the scores of the latest checkpoints: of each set and way to score the latest."""
    latest: dict[Path, Path] = {}
    for path in sorted(files):
        latest[path.parent] = path
    found = []
    for path in sorted(latest.values(), key=lambda path: path.stat().st_mtime, reverse=True):
        record = read_json(path)
        found.append(
            NewestScore(
                score=path.parent.parent.name,
                samples=path.parent.name,
                step=int(path.stem.removeprefix("step-")),
                feature_space=record["feature_space"],
                fid=record["fid"],
                kid=record["kid_mean"],
                inception_score=record["is_mean"],
            )
        )
    return found[:NEWEST_SCORES]
