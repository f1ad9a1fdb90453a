"""The overview of a study as text for a terminal."""

import itertools
from collections.abc import Iterable, Iterator
from datetime import datetime

from ddpm_bench.runs.job_failures import JobFailure
from ddpm_bench.runs.overview import BenchmarkState, ExperimentState, NewestScore, Overview
from ddpm_bench.runs.slurm_queue import SlurmJob

BAR_WIDTH = 24
JOBS_SHOWN = 8  # of each experiment; the rest is counted
FAILURES_SHOWN = 2
COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Paint:
    """Colours of text for a terminal; none elsewhere."""

    def __init__(self, coloured: bool) -> None:
        self._coloured = coloured

    def __call__(self, colour: str, text: str) -> str:
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self._coloured and text else text


def dashboard(state: Overview, coloured: bool = False) -> Iterator[str]:
    """Yield lines: the main process, each experiment, the benchmark, then the jobs of datasets."""
    paint = Paint(coloured)
    now = datetime.fromisoformat(state.time)
    yield f"{state.config_file} in {state.folder}, {now.astimezone():%H:%M:%S}"
    yield from _main(state, now)
    if state.slurm_error:
        yield paint("red", f"SLURM does not answer: {state.slurm_error}")
    for experiment in state.experiments:
        yield ""
        yield from _experiment(experiment, now, paint)
    if state.benchmark is not None:
        yield ""
        yield from _benchmark(state.benchmark, now, paint)
    if state.shared_jobs or state.shared_failures:
        yield ""
        yield paint("bold", "datasets and comparisons")
        yield from _jobs(state.shared_jobs, paint)
        yield from _failures(state.shared_failures, now, paint)


def _main(state: Overview, now: datetime) -> Iterator[str]:
    for main in state.main:
        since = duration((now - datetime.fromisoformat(main.since)).total_seconds())
        if main.is_of_this_machine():
            yield f"snakemake runs: process {main.process}, for {since}"
        else:
            yield f"snakemake was started on {main.host} {since} ago (process {main.process})"
    jobs = [job for item in state.experiments for job in item.jobs] + state.shared_jobs
    jobs += state.benchmark.jobs if state.benchmark else []
    if not state.main:
        yield "snakemake does not run" + (" and its jobs go on without it" if jobs else "")
    if jobs:
        waiting = sum(job.waits for job in jobs)
        yield f"SLURM jobs: {len(jobs) - waiting} running, {waiting} waiting"


def _experiment(state: ExperimentState, now: datetime, paint: Paint) -> Iterator[str]:
    yield f"{paint('bold', state.name)} (dataset {state.dataset})"
    for note in state.notes:
        yield paint("yellow", f"  note      {note}")
    steps = f"{state.steps_done:,} of {state.steps:,} steps"
    yield f"  training  {_bar(state.steps_done, state.steps, paint)}  {steps}{_speed(state)}"
    trainer = state.trainer
    if trainer is not None and trainer.slurm_job is None:
        ago = duration(trainer.heard_seconds_ago)
        where = f"process {trainer.process} on {trainer.host}"
        yield f"            {where}, last sign of life {ago} ago"
    samples = f"{state.samples_done:,} of {state.samples:,} files"
    yield f"  samples   {_bar(state.samples_done, state.samples, paint)}  {samples}"
    scores = f"{state.scores_done:,} of {state.scores:,}"
    yield f"  scores    {_bar(state.scores_done, state.scores, paint)}  {scores}"
    for score in state.newest_scores:
        yield f"            {_score(score)}"
    yield from _jobs(state.jobs, paint)
    yield from _failures(state.failures, now, paint)


def _benchmark(state: BenchmarkState, now: datetime, paint: Paint) -> Iterator[str]:
    yield paint("bold", "benchmark")
    found = ", ".join(f"{count:,} {status}" for status, count in state.statuses.items())
    cells = f"{state.cells_done:,} of {state.cells:,} cells{f': {found}' if found else ''}"
    yield f"  measured  {_bar(state.cells_done, state.cells, paint)}  {cells}"
    yield from _jobs(state.jobs, paint)
    yield from _failures(state.failures, now, paint)


def _bar(done: int, total: int, paint: Paint) -> str:
    share = done / total if total else 1.0
    full = int(share * BAR_WIDTH)
    text = "█" * full + "░" * (BAR_WIDTH - full)
    # Rounded down: 100% means finished.
    return paint("green" if done >= total else "bold", text) + f" {int(100 * share):3d}%"


def _speed(state: ExperimentState) -> str:
    if state.steps_done >= state.steps or not state.images_per_second:
        return ""
    speed = f", {state.images_per_second:,.0f} images/s"
    left = "" if state.seconds_left is None else f", {duration(state.seconds_left)} left"
    return (
        f"{speed}{left}" if state.trainer else f"{left} at {state.images_per_second:,.0f} images/s"
    )


def _score(score: NewestScore) -> str:
    values = {"FID": score.fid, "KID": score.kid, "IS": score.inception_score}
    parts = [f"{name} {value:.4g}" for name, value in values.items() if value is not None]
    named = f"step {score.step:,}, samples {score.samples}, score {score.score}"
    return f"{named} ({score.feature_space}): {', '.join(parts) or 'not measurable'}"


def _jobs(jobs: list[SlurmJob], paint: Paint) -> Iterator[str]:
    running = [job for job in jobs if not job.waits]
    for job in running[:JOBS_SHOWN]:
        times = f"for {job.elapsed}, wall time left {job.left}"
        yield f"  running   {_name(job)}: job {job.id} on {_place(job)} {times}"
    if len(running) > JOBS_SHOWN:
        more = _by_rule(running[JOBS_SHOWN:])
        yield f"            and {more} more"
    waiting = sorted((job for job in jobs if job.waits), key=lambda job: (job.reason, job.rule))
    for reason, group in itertools.groupby(waiting, key=lambda job: job.reason):
        same = list(group)
        which = f"{_name(same[0])}: job {same[0].id}" if len(same) == 1 else _by_rule(same)
        yield paint("yellow", f"  waiting   {which} ({reason}) in partition {same[0].partition}")


def _name(job: SlurmJob) -> str:
    return f"{job.rule} {job.wildcards}" + (f" and {job.count - 1} more" if job.count > 1 else "")


def _by_rule(jobs: Iterable[SlurmJob]) -> str:
    """Count jobs by rule, as in "12 sample, 3 score"."""
    rules = sorted(job.rule for job in jobs)
    return ", ".join(f"{len(list(group))} {rule}" for rule, group in itertools.groupby(rules))


def _place(job: SlurmJob) -> str:
    """Name the nodes and GPUs of a job, as in "gpu1 (GPU 0, 1)"."""
    if not job.gpus:
        return job.nodes
    by_node = itertools.groupby(job.gpus, key=lambda gpu: gpu.rpartition(":")[0])
    return " and ".join(
        f"{node} (GPU {', '.join(gpu.rpartition(':')[2] for gpu in gpus)})"
        for node, gpus in by_node
    )


def _failures(failures: list[JobFailure], now: datetime, paint: Paint) -> Iterator[str]:
    for failure in failures[:FAILURES_SHOWN]:
        ago = duration(now.timestamp() - failure.time)
        state = f" ({failure.state})" if failure.state else ""
        again = f"; it is tried again as job {failure.again_as}" if failure.again_as else ""
        what = f"{failure.rule} {failure.wildcards}"
        yield paint("red", f"  failed    {what}, {ago} ago{state}{again}")
        yield f"            {failure.message}"
        yield paint("dim", f"            log: {failure.log}")
    if len(failures) > FAILURES_SHOWN:
        yield paint("red", f"            and {len(failures) - FAILURES_SHOWN} more jobs")


def duration(seconds: float) -> str:
    """Return a duration in two units at most: 45 s, 3 min 20 s, 3 h 12 min, 2 d 3 h."""
    left = max(0, round(seconds))
    days, left = divmod(left, 86400)
    hours, left = divmod(left, 3600)
    minutes, left = divmod(left, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    first = next((index for index, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"
