"""The table of costs, from Snakemake's benchmark files: a row per stage and experiment.

A benchmark file holds the successful attempt of one job: seconds, memory, CPU time and, in its
extended form, what the job requested. The time of a training before it was stopped or killed is in
its progress.jsonl.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ddpm_bench.config.reporting import ChargedExperiment
from ddpm_bench.records.benchmark_files import SNAKEMAKE_MIB, BenchmarkUsage, measured
from ddpm_bench.records.progress_log import Attempt, check_progress, read_attempts

# The stages that count, in the order of the pipeline, with the names of their files.
STAGES = {
    "prepare": "{dataset}",
    "train_classifier": "{dataset}",
    "reference_features": "{dataset}.{space}.{split}",
    "train": "{experiment}.{first}-{last}",
    "validate": "{experiment}.{first}-{last}",
    "encode": "{experiment}",
    "reconstruct": "{experiment}.{step}",
    "sample": "{experiment}.{samples}.{step}.{first}-{last}",
    "score": "{experiment}.{score}.{samples}.{step}",
    "plot_trajectory": "{experiment}.{samples}",
}
COLUMNS = [
    "stage", "experiment", "dataset", "jobs", "wall_hours", "gpu_hours", "cpu_hours",
    "longest_job_minutes", "peak_memory_gib", "gpus_per_job", "cpus_per_job",
    "requested_memory_gib", "requested_minutes", "memory_used_share", "runtime_used_share",
    "cpu_used_share", "advice",
]  # fmt: skip
NOT_OF_ONE_EXPERIMENT = ""  # in the column `experiment`: a dataset's, shared by experiments
MIB_PER_GIB = 1024
ROOM = 1.3  # advised request over use
FAR_OFF = 2.0  # requests over what is advised from which there is advice
NEARLY_ALL = 0.9  # of the memory
CPU_SHARE = 0.35  # of several cores below which there is advice, for stages that took
CPU_HOURS = 0.1  # at least this time: starting up keeps one core busy


def costs_table(
    results: Path, experiments: dict[str, ChargedExperiment], has_gpus: bool
) -> pd.DataFrame:
    """Return the costs of the experiments and of their datasets; columns: COLUMNS.

    Hours are of the wall clock. has_gpus: True if this machine has GPUs, which jobs without SLURM
    then held.
    """
    rows = []
    jobs = pd.DataFrame(list(measured_jobs(results, experiments, has_gpus)))
    if jobs.empty:
        return pd.DataFrame(columns=COLUMNS)
    jobs["order"] = jobs["stage"].map(list(STAGES).index)
    for (_, stage, experiment, dataset), group in jobs.groupby(
        ["order", "stage", "experiment", "dataset"], sort=True
    ):
        rows.append({"stage": stage, "experiment": experiment, "dataset": dataset, **sums(group)})
    table = pd.DataFrame(rows)
    by_stage = {stage: advice(stage, group) for stage, group in table.groupby("stage")}
    table["advice"] = table["stage"].map(by_stage)
    return table[COLUMNS]


def sums(jobs: pd.DataFrame) -> dict[str, object]:
    """Return the sums and maxima over the jobs of one stage; NaN if nothing was measured."""
    seconds = jobs["seconds"] + jobs["earlier_seconds"]
    cpu = jobs["cpu_seconds"].astype(float)
    cpus = jobs["cpus"].astype(float)
    memory = jobs["memory_mib"].astype(float).max() / MIB_PER_GIB
    requested = jobs["requested_mb"].astype(float).max() / MIB_PER_GIB
    minutes = jobs["requested_minutes"].astype(float).max()
    longest = jobs["seconds"].max() / 60
    # Jobs with both values known.
    offered = (jobs["seconds"] * cpus)[cpu.notna()].sum(min_count=1)
    return {
        "jobs": len(jobs),
        "wall_hours": seconds.sum() / 3600,
        "gpu_hours": (seconds * jobs["gpus"]).sum() / 3600,
        "cpu_hours": cpu.sum(min_count=1) / 3600,
        "longest_job_minutes": longest,
        "peak_memory_gib": memory,
        "gpus_per_job": jobs["gpus"].max(),
        "cpus_per_job": cpus.max(),
        "requested_memory_gib": requested,
        "requested_minutes": minutes,
        "memory_used_share": memory / requested,
        "runtime_used_share": longest / minutes,
        "cpu_used_share": cpu[cpus.notna()].sum(min_count=1) / offered,
    }


def measured_jobs(
    results: Path, experiments: dict[str, ChargedExperiment], has_gpus: bool
) -> Iterator[BenchmarkUsage]:
    """Yield every job of these experiments and their datasets that has a benchmark file."""
    logs = {name: results / name / "progress.jsonl" for name in experiments}
    for log in logs.values():
        check_progress(log)
    attempts = {name: read_attempts(log) for name, log in logs.items()}
    for stage, pattern in STAGES.items():
        named = _patterns(pattern, experiments)
        for path in sorted((results / "logs" / stage).glob("*.benchmark.tsv")):
            name = path.name.removesuffix(".benchmark.tsv")
            for (experiment, dataset), expression in named:
                if found := re.fullmatch(expression, name):
                    job = measured(path, stage, experiment, dataset, has_gpus)
                    if stage == "train":
                        job = _with_earlier_attempts(
                            job, attempts[experiment], int(found["first"]), int(found["last"])
                        )
                    yield job
                    break


def _patterns(
    pattern: str, experiments: dict[str, ChargedExperiment]
) -> list[tuple[tuple[str, str], str]]:
    """Return regular expressions for file names, each with the experiment and dataset it stands
    for."""
    numbers = {"step": r"\d+", "first": r"(?P<first>\d+)", "last": r"(?P<last>\d+)"}
    text = re.escape(pattern).replace(r"\{", "{").replace(r"\}", "}")
    if "{dataset}" in pattern:
        names = dict.fromkeys(keys.dataset for keys in experiments.values())
        parts = {"space": r"[^.]+", "split": r"\w+"}
        return [
            ((NOT_OF_ONE_EXPERIMENT, name), text.format(dataset=re.escape(name), **parts))
            for name in names
        ]
    return [
        (
            (name, keys.dataset),
            text.format(
                experiment=re.escape(name),
                samples=_any_of(keys.samples),
                score=_any_of(keys.scores),
                **numbers,
            ),
        )
        for name, keys in experiments.items()
    ]


def _any_of(names: list[str]) -> str:
    return "(?:" + "|".join(map(re.escape, names)) + ")" if names else "(?!)"


def _with_earlier_attempts(
    job: BenchmarkUsage, attempts: list[Attempt], first: int, last: int
) -> BenchmarkUsage:
    """Return a training job with the time of its earlier attempts added.

    The benchmark file has the last attempt only. A job that found everything trained took no time:
    then all attempts are earlier ones.
    """
    took = [attempt.seconds for attempt in attempts if first <= attempt.first < last]
    return replace(job, earlier_seconds=max(sum(took[:-1]), sum(took) - job.seconds))


def advice(stage: str, rows: pd.DataFrame) -> str:
    """Return the requests to make instead of those that are far from the use; else an empty text.

    rows: of one stage. A rule's request is for all experiments, so the largest use decides.
    """
    parts = []
    known = rows.dropna(subset=["requested_memory_gib", "peak_memory_gib"])
    if not known.empty:
        used, asked = known["peak_memory_gib"].max(), known["requested_memory_gib"]
        enough = enough_mb(used * MIB_PER_GIB)
        remedy = f"set-resources: {stage}: mem_mb: {enough}"
        if asked.min() * MIB_PER_GIB >= FAR_OFF * enough:
            text = f"{stage} asked for {asked.min():.1f} GiB and used {used:.1f} at most"
            parts.append(f"{text}; {remedy} would do")
        elif (known["memory_used_share"] >= NEARLY_ALL).any():
            tight = known.loc[known["memory_used_share"].idxmax()]
            text = f"{tight['peak_memory_gib']:.1f} of {tight['requested_memory_gib']:.1f} GiB"
            parts.append(f"{stage} used {text}; {remedy} is safer")
    timed = rows.dropna(subset=["requested_minutes"])
    if not timed.empty:
        asked, longest = timed["requested_minutes"].min(), timed["longest_job_minutes"].max()
        enough = 10 * math.ceil(max(1.0, ROOM * longest) / 10)
        if asked >= 2 * FAR_OFF * enough:
            took = f"{longest:.0f} minutes" if longest >= 2 else f"{60 * longest:.0f} seconds"
            parts.append(
                f"{stage} asked for {asked:,.0f} minutes and took {took} at most; "
                f"runtime: {enough} would do"
            )
    cpus, share = rows["cpus_per_job"].min(), rows["cpu_used_share"].max()
    if cpus >= 2 and share < CPU_SHARE and rows["wall_hours"].sum() >= CPU_HOURS:
        parts.append(
            f"{stage} kept {share * cpus:.1f} of {cpus:.0f} CPU cores busy at most; fewer run.cpus "
            "would do"
        )
    return ". ".join(parts)


def enough_mb(used_mib: float) -> int:
    """Return a request in MB with room for the use and for Snakemake, in steps of 500 MB."""
    return 500 * math.ceil(ROOM * (used_mib + SNAKEMAKE_MIB) / 500)
