"""A workflow's jobs in SLURM's queue: which are its own, where they run, why they wait.

The executor plugin runs every job in the folder that snakemake was started in, under the run's id
as its name, with a comment of rule and wildcards: rule_train_wildcards_digits_00000000_00000600.
The jobs of a group are listed in its script. Imports the standard library and the configuration.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ddpm_bench.config.experiment import Config
from ddpm_bench.errors import UserError
from ddpm_bench.planning.benchmark_cells import BENCHMARK, is_cell_name
from ddpm_bench.planning.fetched_files import datasets_by_fetched_name
from ddpm_bench.planning.jobs import all_datasets

SEPARATOR = "\x1f"  # stands in no name
# Letters of squeue --format, as in its manual.
FIELDS = {
    "id": "%i", "state": "%T", "comment": "%k", "run": "%j", "partition": "%P", "nodes": "%N",
    "reason": "%r", "elapsed": "%M", "left": "%L", "folder": "%Z",
}  # fmt: skip
TIMEOUT_SECONDS = 60
NO_CLUSTER = "Could not establish a configuration source"  # commands without a cluster
# States of jobs that run, will run or are on their way out; all others have ended.
ACTIVE = {
    "PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT",
    "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESIZING",
    "RESV_DEL_HOLD",
}  # fmt: skip
# The wildcards of each rule's jobs, in their order in the rule's first output.
WILDCARDS = {
    "prepare": ("dataset",),
    "train_classifier": ("dataset",),
    "reference_features": ("dataset", "space", "split"),
    "train": ("experiment", "first", "last"),
    "validate": ("experiment", "first", "last"),
    "encode": ("autoencoder",),
    "reconstruct": ("autoencoder", "step"),
    "sample": ("experiment", "samples", "step", "first", "last"),
    "sample_grid": ("experiment", "samples", "step"),
    "score": ("experiment", "score", "samples", "step"),
    "plot_scores": ("experiment",),
    "plot_first_scores": ("experiment",),
    "plot_loss": ("experiment",),
    "plot_schedule": ("experiment",),
    "plot_reconstructions": ("autoencoder",),
    "plot_samples": ("experiment", "samples"),
    "plot_trajectory": ("experiment", "samples"),
    "plot_closest_pairs": ("experiment", "score", "samples"),
    "plot_samplers": ("experiment",),
    "measure_cell": ("cell",),
    "fetch": ("fetched",),
    "collect": ("experiment",),
    "thin": ("experiment",),
    "best": ("experiment",),
    "sweep": ("sweep",),
}


@dataclass(frozen=True)
class SlurmJob:
    """One job in SLURM's queue. Times are SLURM's own text: [days-]hours:minutes:seconds."""

    id: str
    state: str  # of squeue: PENDING, RUNNING, COMPLETED, FAILED, ...
    rule: str  # or the name of a group of jobs
    wildcards: str  # their values, joined by "_"
    run: str  # the id of the snakemake run that sent it
    partition: str
    nodes: str  # empty while it waits
    reason: str  # of its waiting, or of its end
    elapsed: str
    left: str  # of its wall time
    gpus: tuple[str, ...] = ()  # "node:index"; of running jobs, see `with_details`
    log: str = ""  # file of SLURM's; of running jobs, see `with_details`
    count: int = 1  # of snakemake's jobs in it

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def waits(self) -> bool:
        return self.is_active and not self.nodes


def has_slurm() -> bool:
    """Return True if this machine has SLURM's commands."""
    return shutil.which("squeue") is not None


def queue(folder: Path, ended: bool = False) -> list[SlurmJob]:
    """Return the jobs that this user's snakemakes in a folder have sent, in the order of their ids.

    ended: those too that have ended, as long as SLURM remembers them (MinJobAge). [] on a machine
    that is of no cluster. Raises UserError when squeue fails.
    """
    if not has_slurm():
        return []
    states = ["--states=all"] if ended else []
    fields = SEPARATOR.join(FIELDS.values())
    command = ["squeue", "--noheader", f"--user={os.getuid()}", *states, f"--format={fields}"]
    try:
        listing = run_command(*command)
    except UserError as error:
        if NO_CLUSTER in str(error):
            return []
        raise
    here, jobs = folder.resolve(), []
    for line in listing.splitlines():
        values = dict(zip(FIELDS, line.strip().split(SEPARATOR), strict=True))
        comment = re.fullmatch(r"rule_(.+?)(?:_wildcards_(.*))?", values.pop("comment"))
        if comment and Path(values.pop("folder")).resolve() == here:
            jobs.append(SlurmJob(rule=comment[1], wildcards=comment[2] or "", **values))
    return sorted(jobs, key=lambda job: (len(job.id), job.id))


def jobs_of(config: Config, jobs: Iterable[SlurmJob]) -> list[SlurmJob]:
    """Return the jobs of this config: another workflow may have some in the same folder.

    Where a job's comment does not name its wildcards, its script does; a job of all experiments
    belongs to the run that sent it.
    """
    jobs = list(jobs)
    runs = {job.run for job in jobs if belongs_to_study(config, job.rule, job.wildcards)}
    own = (_own(config, job, runs) for job in jobs)
    return [job for job in own if job is not None]


def _own(config: Config, job: SlurmJob, runs: set[str]) -> SlurmJob | None:
    """Return a job of this config, completed from its script if need be; None for other jobs."""
    if job.rule in WILDCARDS and job.wildcards:
        return job if belongs_to_study(config, job.rule, job.wildcards) else None
    members = targets(batch_script(job.id)) if job.is_active else []
    if not members or not members[0].partition(":")[2]:
        return job if job.run in runs else None
    rule, _, values = members[0].partition(":")
    wildcards = "_".join(value.partition("=")[2] for value in values.split(","))
    named = replace(job, rule=rule, wildcards=wildcards, count=len(members))
    return named if belongs_to_study(config, rule, wildcards) else None


def belongs_to_study(config: Config, rule: str, wildcards: str, separator: str = "_") -> str | None:
    """Return the experiment, sweep or dataset of this config that a job belongs to, by its
    wildcards; the benchmark's name for its cells; None if it belongs to nothing here.

    separator: a pattern of what stands between the wildcards' values.
    """
    if rule not in WILDCARDS:
        return None
    kinds = WILDCARDS[rule]
    if kinds[0] == "cell":
        return BENCHMARK if is_cell_name(config, wildcards) else None
    if kinds[0] == "fetched":
        return datasets_by_fetched_name(config).get(wildcards)
    names = list(config.trainings)
    if kinds[0] == "dataset":
        names = all_datasets(config)
    elif kinds[0] == "sweep":
        names = list(config.sweeps)
    for name in names:
        parts = [re.escape(name), *_patterns(config, name, kinds[1:])]
        if re.fullmatch(separator.join(parts), wildcards):
            return name
    return None


def _patterns(config: Config, name: str, kinds: tuple[str, ...]) -> Iterator[str]:
    patterns = {"step": r"\d+", "first": r"\d+", "last": r"\d+", "space": "[^_]+", "split": r"\w+"}
    if name in config.trainings:
        own = config.trainings[name]
        patterns |= {"samples": _any_of(own.samples), "score": _any_of(own.scores)}
    return (patterns[kind] for kind in kinds)


def _any_of(names: Iterable[str]) -> str:
    return "(?:" + "|".join(map(re.escape, names)) + ")"


def targets(script: str) -> list[str]:
    """Return the jobs that a SLURM script runs, as "rule:wildcard=value,..."; [] if unknown."""
    after = script.partition("--target-jobs ")[2]
    words = shlex.split(after.splitlines()[0]) if after else []
    stop = next((index for index, word in enumerate(words) if word.startswith("--")), len(words))
    return words[:stop]


def batch_script(job: str) -> str:
    """Return the script of a job; empty where SLURM has none."""
    try:
        return run_command("scontrol", "write", "batch_script", job, "-")
    except UserError:
        return ""


def with_details(job: SlurmJob) -> SlurmJob:
    """Return a running job with its GPUs and its log, by one call of scontrol."""
    try:
        text = run_command("scontrol", "--details", "--oneliner", "show", "job", job.id)
    except UserError:  # it has ended meanwhile
        return job
    log = re.search(r"\bStdOut=(.*?)(?: \w+=|\s*$)", text)
    return replace(job, gpus=tuple(gpu_indices(text)), log=log[1] if log else "")


def gpu_indices(text: str) -> list[str]:
    """Return "node:index" for every allocated GPU that `scontrol show job --details` names."""
    found = []
    for nodes, given in re.findall(r" Nodes=(\S+) CPU_IDs=\S* Mem=\S* GRES=(\S*)", text):
        for indices in re.findall(r"gpu[^()]*\(IDX:([\d,-]+)\)", given):
            found += [f"{nodes}:{index}" for index in _numbers(indices)]
    return found


def _numbers(listed: str) -> list[int]:
    """Return 0-2,5 as [0, 1, 2, 5]."""
    numbers: list[int] = []
    for part in listed.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def run_command(*command: str) -> str:
    """Return the output of a SLURM command. Raises UserError with its error message if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{command[0]}: {error}") from None
    if done.returncode != 0:
        stderr = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UserError(f"{stderr[-1]}; is SLURM's controller up (scontrol ping)?")
    return done.stdout
