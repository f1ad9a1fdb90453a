"""What a run will do, and how long it will take by what earlier jobs took.

Which jobs would run is Snakemake's word (`snakemake --summary`), never ours; how many steps and
images they hold stands in the names of their files.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning.benchmark_cells import cells
from ddpm_bench.planning.earlier_jobs import EarlierJobs, read_if_there
from ddpm_bench.planning.stages import train_stage
from ddpm_bench.records.layout import IMAGE_DIGITS, STEP_DIGITS

PENDING = "update pending"
LEFT_OUT = ("checkpoint_every", "init_from")
STEPS = rf"(\d{{{STEP_DIGITS}}})-(\d{{{STEP_DIGITS}}})"
IMAGES = rf"(\d{{{IMAGE_DIGITS}}})-(\d{{{IMAGE_DIGITS}}})"
STEP = rf"step-\d{{{STEP_DIGITS}}}"
BENCHMARK_RULES = ("collect_throughput", "plot_throughput")
NAMES = {
    "train": rf"(?P<experiment>[^/]+)/training/job-{STEPS}\.json",
    "validate": rf"(?P<experiment>[^/]+)/training/validation-{STEPS}\.csv",
    "sample": rf"(?P<experiment>[^/]+)/samples/(?P<samples>[^/]+)/{STEP}/images-{IMAGES}\.npy",
    "score": rf"(?P<experiment>[^/]+)/scores/(?P<score>[^/]+)/(?P<samples>[^/]+)/{STEP}\.json",
}


@dataclass(frozen=True)
class Work:
    """Jobs of one kind of an experiment: what they do, and the seconds of each step, image or job;
    None where nothing like it was measured."""

    experiment: str
    rule: str
    what: str
    jobs: int
    amount: int
    unit: str
    seconds_each: float | None
    gpus: int = 1

    @property
    def seconds(self) -> float | None:
        """Of all, one after the other."""
        return None if self.seconds_each is None else self.amount * self.seconds_each

    @property
    def gpu_hours(self) -> float | None:
        return None if self.seconds is None else self.seconds * self.gpus / 3600


@dataclass
class Pending:
    """What Snakemake would make: by rule and names, the pieces (first, last) in the file names."""

    pieces: dict[tuple[str, ...], list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    others: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # files by rule
    cells: int = 0  # of the benchmark
    throughput: int = 0  # files that are made from its cells


def pending(config: Config, summary: Iterable[str]) -> Pending:
    """Read the lines that `snakemake --summary` prints. Raises ValueError for other text."""
    lines = iter(summary)
    columns = next(lines, "").rstrip("\n").split("\t")
    output, rule, plan = (columns.index(name) for name in ("output_file", "rule", "plan"))
    found = Pending()
    for line in lines:
        values = line.rstrip("\n").split("\t")
        if len(values) != len(columns) or values[plan] != PENDING:
            continue
        name = values[output].removeprefix(f"{config.results_dir}/")
        match = re.fullmatch(NAMES.get(values[rule], r"(?!)"), name)
        if match is None:
            found.others[values[rule]] += 1
            continue
        numbers = [int(text) for text in match.groups() if text.isdigit()]
        names = tuple(match[key] for key in ("score", "samples") if key in match.groupdict())
        piece = (numbers[-2], numbers[-1]) if values[rule] != "score" else (0, 0)
        found.pieces[values[rule], match["experiment"], *names].append(piece)
    found.cells = found.others.pop("measure_cell", 0)
    found.throughput = sum(found.others.pop(rule_name, 0) for rule_name in BENCHMARK_RULES)
    # Of a score a second file comes with the first, and of samples too: neither is another job.
    for rule_name in ("sample", "score"):
        found.others.pop(rule_name, None)
    return found


def forecast(config: Config, found: Pending) -> list[Work]:
    """Everything on a GPU that a run will do, by experiment in the order of the config."""
    measured = EarlierJobs(config)
    works = [_work(config, measured, *key, pieces=pieces) for key, pieces in found.pieces.items()]
    order = {name: number for number, name in enumerate(config.trainings)}
    rules = list(NAMES)
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
        gpus=keys.train.run.processes if rule == "train" else 1,
    )


def _reached(config: Config, experiment: str) -> int:
    """The last step that the present training has saved; 0 where it begins anew."""
    folder = Path(config.results_dir, experiment, "training")
    marker = read_if_there(folder / "current.json")
    ours = json.loads(train_stage(config, experiment))
    if not marker or _without_cut(marker.get("keys", {})) != _without_cut(ours):
        return 0
    saved = [
        int(path.name.removeprefix("step-"))
        for path in (folder / marker["fingerprint"] / "state").glob("step-" + "[0-9]" * STEP_DIGITS)
    ]
    return max(saved, default=0)


def _without_cut(keys: dict) -> dict:
    """A training's keys without what decides only which weights are kept, and where they lie."""
    train = {key: value for key, value in keys.get("train", {}).items() if key not in LEFT_OUT}
    return {**keys, "train": train}


# In words


def report(works: list[Work], found: Pending) -> Iterator[str]:
    """A table of the work, totals, and what to do about what is not known."""
    if not works and not found.others and not found.cells and not found.throughput:
        yield "Nothing is to be done: every file is there and up to date."
        return
    if works:
        yield from _table(works)
        yield ""
    if found.others:
        files = ", ".join(f"{rule} {count}" for rule, count in sorted(found.others.items()))
        yield f"files of other rules, seconds to minutes each: {files}"
    yield from _advice(works)


def benchmark_report(config: Config, found: Pending) -> Iterator[str]:
    """How many cells of the benchmark are to be measured, and for how long at most."""
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


def _table(works: list[Work]) -> Iterator[str]:
    rows = [["experiment", "rule", "what", "jobs", "seconds each", "hours", "GPU-hours"]]
    for work in works:
        hours = None if work.seconds is None else work.seconds / 3600
        each = "?" if work.seconds_each is None else f"{work.seconds_each:.3g} /{work.unit}"
        times = [each, _hours_text(hours), _hours_text(work.gpu_hours)]
        rows.append([work.experiment, work.rule, work.what, f"{work.jobs:,}", *times])
    jobs = sum(work.jobs for work in works)
    hours = _total(work.seconds and work.seconds / 3600 for work in works)
    rows.append(["total", "", "", f"{jobs:,}", "", hours, _total(w.gpu_hours for w in works)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        words = [cell.ljust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        yield "  ".join([*words, *numbers]).rstrip()


def _total(parts: Iterable[float | None]) -> str:
    """The sum of hours, as a lower bound where some are not known."""
    parts = list(parts)
    known = [part for part in parts if part is not None]
    if len(known) == len(parts):
        return _hours_text(sum(known))
    return f"over {_hours_text(sum(known))}" if known else "?"


def _hours_text(hours: float | None) -> str:
    if hours is None:
        return "?"
    return f"{hours:,.2f}" if hours >= 0.005 or hours == 0 else "<0.01"


def _advice(works: list[Work]) -> Iterator[str]:
    trainings = [work for work in works if work.rule == "train" and work.seconds is not None]
    if trainings:
        longest = max(trainings, key=lambda work: work.seconds or 0)
        yield (
            "jobs of one training follow each other: with GPUs for all, "
            f"{longest.experiment} alone takes {_hours_text((longest.seconds or 0) / 3600)} hours"
        )
    unknown = [rule for rule in NAMES if any(w.rule == rule and w.seconds is None for w in works)]
    if unknown:
        yield (
            f"?: no such job has been measured yet ({', '.join(unknown)}). Start the run and ask "
            "again: a training tells its speed after 30 steps, another rule after its first job. "
            "To know before, run a copy of the config with few steps under another results_dir"
        )
