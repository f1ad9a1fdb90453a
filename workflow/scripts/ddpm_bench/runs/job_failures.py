"""Failed jobs of a study and the reasons of their failures, read from logs.

A program that fails writes the reason into the last lines of its log, which its next attempt
overwrites. Where a program was killed, the reason stands in SLURM's own log of the job, which the
executor plugin deletes when the job succeeds. A benchmark file that is newer than a log shows that
the job has since succeeded. Snakemake need not run, and its report of the end of a run
(slurm_failures.py) need not have been seen.
"""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ddpm_bench.config.experiment import Config
from ddpm_bench.files import read_json
from ddpm_bench.planning.benchmark_cells import benchmark_folder
from ddpm_bench.records.log_tails import OUT_OF_MEMORY, last_words, log_tail
from ddpm_bench.runs import slurm_queue

SAME_SECONDS = 120  # the ends of a program's log and of SLURM's of the same job lie closer
SUCCEEDED = re.compile(r"^\d+ of \d+ steps \(100%\) done", re.M)
STOPPED = "stopped.json"  # in results/logs/main: the jobs that `make stop` has cancelled


@dataclass(frozen=True)
class JobFailure:
    """A job that failed and has not succeeded since."""

    rule: str
    wildcards: str  # their values, as in the log's name
    about: str  # experiment or dataset
    message: str
    log: str
    time: float  # seconds since 1970
    state: str | None = None  # SLURM's, while it remembers the job
    again_as: str | None = None  # the id of the job that tries again now

    @property
    def job(self) -> tuple[str, str]:
        return self.rule, _plain(self.wildcards)


def newest_failures(
    config: Config, folder: Path, jobs: list[slurm_queue.SlurmJob]
) -> list[JobFailure]:
    """Return the failures of a config's jobs, newest first, one of each job.

    folder: the one that snakemake runs in; jobs: SLURM's of the config, ended ones too.
    """
    logs = Path(config.results_dir, "logs")
    active = {(job.rule, _plain(job.wildcards)): job for job in jobs if job.is_active}
    found: dict[tuple[str, str], JobFailure] = {}
    for failure in [*_of_programs(config, logs), *_of_slurm(config, folder, logs, jobs)]:
        before = found.get(failure.job)
        if before is None or failure.time - before.time > SAME_SECONDS:
            found[failure.job] = failure
        else:  # the program's own message is clearer than SLURM's
            found[failure.job] = replace(before, state=failure.state)
    return sorted(
        (
            replace(failure, again_as=active[failure.job].id if failure.job in active else None)
            for failure in found.values()
        ),
        key=lambda failure: failure.time,
        reverse=True,
    )


def _of_programs(config: Config, logs: Path) -> Iterator[JobFailure]:
    """Yield the failures of programs whose log ends in an error."""
    for rule in slurm_queue.WILDCARDS:
        successes = _successes(config, rule)
        for log in sorted((logs / rule).glob("*.log")):
            about = slurm_queue.belongs_to_study(config, rule, log.stem, separator="[._-]")
            if about is None or successes.get(_plain(log.stem), 0) >= log.stat().st_mtime:
                continue
            if message := last_words(log_tail(log)):
                yield JobFailure(rule, log.stem, about, message, str(log), log.stat().st_mtime)


def _of_slurm(
    config: Config, folder: Path, logs: Path, jobs: list[slurm_queue.SlurmJob]
) -> Iterator[JobFailure]:
    """Yield the failures of SLURM jobs that ended without success, of each the last attempt."""
    known = {job.id: job for job in jobs}
    stopped = set(stopped_jobs(Path(config.results_dir)))
    for rule in slurm_queue.WILDCARDS:
        successes = _successes(config, rule)
        for place in sorted((folder / ".snakemake" / "slurm_logs" / f"rule_{rule}").glob("*")):
            about = slurm_queue.belongs_to_study(config, rule, place.name)
            ended = [
                log
                for log in place.glob("*.log")
                if not (log.stem in known and known[log.stem].is_active)
            ]
            if about is None or not ended:
                continue
            log = max(ended, key=lambda path: path.stat().st_mtime)
            if log.stem in stopped or successes.get(_plain(place.name), 0) >= log.stat().st_mtime:
                continue
            tail = log_tail(log)
            if SUCCEEDED.search(tail):
                continue
            state = known[log.stem].state if log.stem in known else None
            message = reason_of_slurm(tail) or last_words(tail) or _message_without_reason(state)
            yield JobFailure(rule, place.name, about, message, str(log), log.stat().st_mtime, state)


def stopped_jobs(results: Path) -> list[str]:
    """Return the ids of the SLURM jobs that `make stop` has cancelled, which did not fail."""
    try:
        return [str(job) for job in read_json(results / "logs" / "main" / STOPPED)]
    except (OSError, ValueError):
        return []


def reason_of_slurm(tail: str) -> str:
    """Return the last line of SLURM's log that has the reason of a job's end; empty for none."""
    reasons = [
        line for line in tail.splitlines() if OUT_OF_MEMORY.search(line) or "CANCELLED AT" in line
    ]
    return reasons[-1].strip() if reasons else ""


def _message_without_reason(state: str | None) -> str:
    return f"the job ended without a message{f' ({state})' if state else ''}"


def _successes(config: Config, rule: str) -> dict[str, float]:
    """Return the time of each job's last success, in seconds since 1970, by its wildcards."""
    if rule == "measure_cell":  # has no such file; its record is deleted while it is measured anew
        records = (benchmark_folder(config) / "cells").glob("*.json")
        return {_plain(path.stem): math.inf for path in records}
    folder, ends = Path(config.results_dir, "logs", rule), ".benchmark.tsv"
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {
            _plain(entry.name.removesuffix(ends)): entry.stat().st_mtime
            for entry in entries
            if entry.name.endswith(ends)
        }


def _plain(wildcards: str) -> str:
    """Return wildcards with one separator: names of logs and of SLURM's folders differ in it."""
    return re.sub(r"[.-]", "_", wildcards)
