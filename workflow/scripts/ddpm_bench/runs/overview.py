"""How a study stands, from what lies on disk and in SLURM's queue: no lock, no DAG, no torch.

What can be told of a running workflow from any machine that sees its folder: steps trained, images
per second, samples and scores done, jobs that run and wait, the newest failure.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from ddpm_bench.config.experiment import Config
from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json
from ddpm_bench.planning.benchmark_cells import cell_files
from ddpm_bench.planning.jobs import all_sample_files, finished_jobs, score_files, work_names
from ddpm_bench.planning.retraining import retraining
from ddpm_bench.planning.retries import drawing_notes, failure_of, remedy
from ddpm_bench.records.cell_record import Status
from ddpm_bench.records.progress_log import read_attempts
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
    """Who trains an experiment now."""

    process: int
    host: str
    of_this_machine: bool
    slurm_job: str | None
    heard_seconds_ago: float  # its sign of life


@dataclass(frozen=True)
class NewestScore:
    """One of the newest scores."""

    score: str
    samples: str
    step: int
    feature_space: str
    fid: float | None
    kid: float | None
    inception_score: float | None


@dataclass(frozen=True)
class ExperimentState:
    """How one experiment stands."""

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
    """How the throughput benchmark stands."""

    cells_done: int
    cells: int
    statuses: dict[str, int]  # of the cells that are done; none at 0
    jobs: list[slurm_queue.SlurmJob]
    failures: list[JobFailure]  # newest first


@dataclass(frozen=True)
class Overview:
    """How a workflow stands."""

    config_file: str
    folder: str
    time: str  # ISO 8601
    main: list[MainProcess]
    slurm_error: str | None  # why the queue could not be asked
    experiments: list[ExperimentState]
    benchmark: BenchmarkState | None = None  # where the config has one
    shared_jobs: list[slurm_queue.SlurmJob] = field(
        default_factory=list
    )  # of datasets and of all experiments
    shared_failures: list[JobFailure] = field(default_factory=list)


def overview(config: Config, config_file: Path, folder: Path) -> Overview:
    """How the workflow of a config stands whose snakemake runs in a folder."""
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
    """jobs: those of cells that run or wait; failures: of cells, newest first."""
    if config.benchmark is None:
        return None
    files = [Path(path) for path in cell_files(config)]
    counts = Counter(read_json(path)["status"] for path in files if path.exists())
    statuses = {name: counts[name] for name in get_args(Status) if counts[name]}
    return BenchmarkState(sum(statuses.values()), len(files), statuses, jobs, failures)


def experiment_state(
    config: Config, name: str, jobs: list[slurm_queue.SlurmJob], failures: list[JobFailure]
) -> ExperimentState:
    """jobs: those of it that run or wait; failures: of it, newest first."""
    keys = config.trainings[name]
    note = retraining(config, name)
    folder = Path(config.results_dir, name)
    trainer = current_trainer(folder / "training")
    attempts = read_attempts(folder / "progress.jsonl")
    done, speed = 0, None
    if note is None:
        made = [last for _, last in finished_jobs(config, name)]
        done = max([0, *made, *(attempt.saved for attempt in attempts[-1:])])
        if trainer is not None and attempts:
            done = attempts[-1].step
    if attempts:
        speeds = [item.images_per_second for item in attempts if item.images_per_second]
        speed = speeds[-1] if speeds else None
    failed = failure_of(config, name)
    notes = [] if note is None else [note]
    if failed is not None:
        notes.append(f"training failed: {failed.in_words()} ({remedy(config, name)})")
        done = failed.step
    if name in config.experiments:
        notes += drawing_notes(config, name)
    done = min(done, keys.train.steps)
    left = (keys.train.steps - done) * keys.train.batch_size
    samples = [Path(path) for path in all_sample_files(config, name)]
    scores = [Path(path) for path in score_files(config, name)]
    scored = [path for path in scores if path.exists()]
    return ExperimentState(
        name=name,
        dataset=keys.dataset,
        steps_done=done,
        steps=keys.train.steps,
        images_per_second=speed,
        seconds_left=left / speed if speed else None,
        trainer=trainer,
        samples_done=sum(path.exists() for path in samples),
        samples=len(samples),
        scores_done=len(scored),
        scores=len(scores),
        newest_scores=newest_scores(scored),
        jobs=jobs,
        failures=failures,
        notes=notes,
    )


def current_trainer(folder: Path) -> TrainingProcess | None:
    """Who trains in a training folder; None where nobody does, by what can be told from here."""
    owner = read_description(folder)
    if owner is None or owner.released:
        return None
    ago = _heard_seconds_ago(folder, owner)
    if ago is None or ago > MISSED_RENEWALS * owner.renew_seconds:
        return None
    here = owner.is_of_this_machine()
    if here and not _is_there(owner.process):
        return None
    return TrainingProcess(owner.process, owner.host, here, owner.slurm_job, max(0.0, ago))


def _heard_seconds_ago(folder: Path, owner: Description) -> float | None:
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
    """The scores of the latest checkpoints, of each set and way to score the latest."""
    latest: dict[Path, Path] = {}
    for path in sorted(files):
        latest[path.parent] = path
    found = []
    for path in sorted(latest.values(), key=lambda path: path.stat().st_mtime, reverse=True):
        said = read_json(path)
        found.append(
            NewestScore(
                score=path.parent.parent.name,
                samples=path.parent.name,
                step=int(path.stem.removeprefix("step-")),
                feature_space=said["feature_space"],
                fid=said["fid"],
                kid=said["kid_mean"],
                inception_score=said["is_mean"],
            )
        )
    return found[:NEWEST_SCORES]
