"""Forecast of a run: its jobs, and their time by the time of earlier jobs.

The jobs are those that Snakemake would run (`snakemake --summary`); their numbers of steps and
images are in the names of their files.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ddpm_bench.config.experiment import Config
from ddpm_bench.config.training import KEYS_OF_KEPT_WEIGHTS
from ddpm_bench.planning.benchmark_cells import cells
from ddpm_bench.planning.earlier_jobs import EarlierJobs
from ddpm_bench.planning.finished_jobs import file_names
from ddpm_bench.planning.stages import train_stage
from ddpm_bench.records import layout
from ddpm_bench.records.manifests import CurrentTraining
from ddpm_bench.text import hours_text

PENDING = "update pending"
BENCHMARK_RULES = ("collect_throughput", "plot_throughput")
# The first output of a job of each rule that computes on a GPU if there is one.
JOB_FILES = {
    "train": layout.matcher(layout.MANIFEST),
    "validate": layout.matcher(layout.VALIDATION),
    "sample": layout.matcher(layout.SAMPLES),
    "score": layout.matcher(layout.SCORE),
}
STATE_NAME = layout.file_matcher(layout.STATE)


@dataclass(frozen=True)
class Work:
    """Jobs of one kind of an experiment: their amount of work, and its time."""

    experiment: str
    rule: str
    what: str
    jobs: int
    amount: int
    unit: str
    seconds_each: float | None  # of a step, image or job; None if no such job was measured
    processes: int = 1  # on a GPU each, or on the CPU

    @property
    def seconds(self) -> float | None:
        """Time of all jobs, one after the other."""
        return None if self.seconds_each is None else self.amount * self.seconds_each

    @property
    def process_hours(self) -> float | None:
        """Time of all jobs multiplied by the number of processes."""
        return None if self.seconds is None else self.seconds * self.processes / 3600


@dataclass
class Pending:
    """Files that Snakemake would make.

    pieces: the numbers (first, last) in the names of files, by rule, experiment and other names.
    """

    pieces: dict[tuple[str, ...], list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    others: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # files by rule
    cells: int = 0  # of the benchmark
    throughput: int = 0  # files that are made from its cells


def pending_files(summary: Iterable[str]) -> list[tuple[str, str]]:
    """Return the files that Snakemake would make, each with its rule.

    summary: the lines that `snakemake --summary` prints. Raises ValueError for other text.
    """
    lines = iter(summary)
    columns = next(lines, "").rstrip("\n").split("\t")
    output, rule, plan = (columns.index(name) for name in ("output_file", "rule", "plan"))
    rows = (line.rstrip("\n").split("\t") for line in lines)
    return [
        (row[output], row[rule])
        for row in rows
        if len(row) == len(columns) and row[plan] == PENDING
    ]


def pending(config: Config, summary: Iterable[str]) -> Pending:
    """Read the lines that `snakemake --summary` prints. Raises ValueError for other text."""
    found = Pending()
    for path, rule in pending_files(summary):
        name = path.removeprefix(f"{config.results_dir}/")
        match = JOB_FILES[rule].fullmatch(name) if rule in JOB_FILES else None
        if match is None:
            found.others[rule] += 1
            continue
        parts = match.groupdict()
        names = tuple(parts[key] for key in ("score", "samples") if key in parts)
        piece = (int(parts.get("first", 0)), int(parts.get("last", 0)))
        found.pieces[rule, parts["experiment"], *names].append(piece)
    found.cells = found.others.pop("measure_cell", 0)
    found.throughput = sum(found.others.pop(rule_name, 0) for rule_name in BENCHMARK_RULES)
    # Jobs of these rules make a second file, which is not another job.
    for rule_name in ("sample", "score"):
        found.others.pop(rule_name, None)
    return found


def forecast(config: Config, found: Pending) -> list[Work]:
    """Return all jobs of a run that GPUs serve, by experiment in the order of the config."""
    measured = EarlierJobs(config)
    works = [_work(config, measured, *key, pieces=pieces) for key, pieces in found.pieces.items()]
    order = {name: number for number, name in enumerate(config.trainings)}
    rules = list(JOB_FILES)
    return sorted(works, key=lambda work: (order[work.experiment], rules.index(work.rule)))


def _work(
    config: Config,
    measured: EarlierJobs,
    rule: str,
    experiment: str,
    *names: str,
    pieces: list[tuple[int, int]],
) -> Work:
    keys = config.trainings[experiment]
    if rule == "train":
        first = max(min(pieces)[0], _reached(config, experiment))
        last = max(pieces)[1]
        each = measured.seconds_per_step(experiment)
        what, amount, unit = f"steps {first:,} to {last:,}", max(0, last - first), "step"
    elif rule == "sample":
        amount = sum(last + 1 - first for first, last in pieces)
        each = measured.seconds_per_image(experiment, *names)
        what, unit = f"{names[0]}: {amount:,} images", "image"
    else:
        amount = len(pieces)
        jobs = (
            measured.scoring_jobs(experiment, *names) if names else measured.jobs(rule, experiment)
        )
        seconds = [seconds for seconds, _ in jobs]
        each = sum(seconds) / len(seconds) if seconds else None
        what = f"{names[1]} by {names[0]}" if names else "losses of checkpoints"
        unit = "job"
    return Work(
        experiment,
        rule,
        what,
        jobs=len(pieces),
        amount=amount,
        unit=unit,
        seconds_each=each,
        processes=keys.train.run.processes if rule == "train" else 1,
    )


def _reached(config: Config, experiment: str) -> int:
    """Return the last step that the present training has saved; 0 if it starts again."""
    results = config.results_dir
    current = CurrentTraining.read_if_there(layout.current_training(results, experiment))
    keys = json.loads(train_stage(config, experiment))
    if current is None or _deciding_weights(current.keys) != _deciding_weights(keys):
        return 0
    states = layout.state_folder(results, experiment, current.fingerprint, 0).parent
    saved = [STATE_NAME.fullmatch(name) for name in file_names(states, STATE_NAME)]
    return max((int(match["step"]) for match in saved if match), default=0)


def _deciding_weights(keys: dict[str, Any]) -> dict[str, Any]:
    """Return a training's keys without those that decide only which weights are kept."""
    train = keys.get("train", {})
    kept = {key: value for key, value in train.items() if key not in KEYS_OF_KEPT_WEIGHTS}
    return {**keys, "train": kept}


# Text


def report(works: list[Work], found: Pending, on_gpus: bool) -> Iterator[str]:
    """Yield a table of the work, totals, and advice about unknown times.

    on_gpus: True if each process holds a GPU, and False if all compute on CPUs.
    """
    if not works and not found.others and not found.cells and not found.throughput:
        yield "Nothing is to be done: every file is there and up to date."
        return
    if works:
        yield from _table(works, "GPU-hours" if on_gpus else "process-hours")
        yield ""
    if found.others:
        files = ", ".join(f"{rule} {count}" for rule, count in sorted(found.others.items()))
        yield f"files of other rules, seconds to minutes each: {files}"
    yield from _advice(works, "GPUs" if on_gpus else "cores")


def benchmark_report(config: Config, found: Pending) -> Iterator[str]:
    """Yield the number of cells of the benchmark to measure, and their longest time."""
    if config.benchmark is None or not (found.cells or found.throughput):
        return
    if not found.cells:
        yield "benchmark: all cells are measured, its tables and figures are to be made"
        return
    minutes = config.benchmark.run.minutes_per_cell
    yield (
        f"benchmark: {found.cells:,} of {len(cells(config.benchmark)):,} cells are to be measured, "
        f"each in at most {minutes:g} minutes (make benchmark)"
    )


def _table(works: list[Work], unit: str) -> Iterator[str]:
    rows = [["experiment", "rule", "what", "jobs", "seconds each", "hours", unit]]
    for work in works:
        hours = None if work.seconds is None else work.seconds / 3600
        each = "?" if work.seconds_each is None else f"{work.seconds_each:.3g} /{work.unit}"
        times = [each, hours_text(hours), hours_text(work.process_hours)]
        rows.append([work.experiment, work.rule, work.what, f"{work.jobs:,}", *times])
    jobs = sum(work.jobs for work in works)
    hours = _total(work.seconds and work.seconds / 3600 for work in works)
    rows.append(["total", "", "", f"{jobs:,}", "", hours, _total(w.process_hours for w in works)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        words = [cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        yield "  ".join([*words, *numbers]).rstrip()


def _total(parts: Iterable[float | None]) -> str:
    """Return the sum of hours as text, as a lower bound if some are unknown."""
    parts = list(parts)
    known = [part for part in parts if part is not None]
    if len(known) == len(parts):
        return hours_text(sum(known))
    return f"over {hours_text(sum(known))}" if known else "?"


def _advice(works: list[Work], held: str) -> Iterator[str]:
    trainings = [work for work in works if work.rule == "train" and work.seconds is not None]
    if trainings:
        longest = max(trainings, key=lambda work: work.seconds or 0)
        yield (
            f"jobs of one training follow each other: with {held} for all, "
            f"{longest.experiment} alone takes {hours_text((longest.seconds or 0) / 3600)} hours"
        )
    unknown = [
        rule for rule in JOB_FILES if any(w.rule == rule and w.seconds is None for w in works)
    ]
    if unknown:
        yield (
            f"?: no such job has been measured yet ({', '.join(unknown)}). Start the run and ask "
            "again: the speed of a training is known after 30 steps, that of another rule after "
            "its first job. To know before, run a copy of the config with few steps under another "
            "results_dir"
        )
