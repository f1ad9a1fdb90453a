#!/usr/bin/env python
"""Measure the load of many experiments on Snakemake, the scheduler and the login node.

Nothing is run, and no SLURM is needed. The program writes configs of the 75,000-step study (a
checkpoint each 1,000 steps, jobs of 5,000 steps, samples and scores of every checkpoint), plans
them by Snakemake with the SLURM profile, and prints the jobs by rule, the seconds until the graph
of jobs is built (a run waits for it before its first sbatch) and those of a whole dry run, the
calls of sbatch, and the queue polls per hour.

Polls follow the schedule in the source of snakemake-executor-plugin-slurm: one squeue for all jobs
40 s after a poll that found a job ended, and 10 s later each time that none has, up to 180 s.

The last line is one JSON object.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from ddpm_bench.cli import run
from ddpm_bench.errors import UserError
from ddpm_bench.machine.host import processor

ROOT = Path(__file__).resolve().parents[1]
# (experiments, sets of samples, checkpoints per job)
STUDIES = ((1, 1, 1), (10, 1, 1), (10, 3, 1), (10, 3, 5), (100, 1, 1))
SHORTEST_POLL, LONGEST_POLL = 40, 180  # seconds, of snakemake-executor-plugin-slurm


def study(experiments: int, sets: int, per_job: int) -> dict[str, object]:
    """Return a config of experiments that differ only in their seeds.

    sets: sets of samples of each; per_job: checkpoints per job of sampling and scoring.
    """
    together = {"checkpoints_per_job": per_job} if per_job > 1 else {}
    one = {
        "dataset": "digits",
        "model": {"name": "unet", "dim": 64, "dim_mults": [1, 2, 4, 8]},
        "train": {
            "steps": 75_000,
            "batch_size": 16,
            "checkpoint_every": 1_000,
            "run": {"steps_per_job": 5_000},
        },
        "samples": {
            f"set{number}": {"images": 1_000, "seed": number, "run": together}
            for number in range(sets)
        },
        "scores": {"classifier": {"features": "classifier", "run": together}},
    }
    return {
        "datasets": {
            "digits": {
                "source": {"kind": "sklearn-digits"},
                "image_size": 64,
                "channels": 3,
                "eval_fraction": 0.2,
            }
        },
        "defaults": one,
        "experiments": {f"e{number}": {"train": {"seed": number}} for number in range(experiments)},
    }


@dataclass(frozen=True)
class Seconds:
    """Duration of a command: elapsed time, and processor time of all cores, in seconds."""

    wall: float
    cpu: float


def timed(folder: Path, config: dict[str, object], *options: str) -> tuple[str, Seconds]:
    """Run Snakemake on a config with the SLURM profile; return its output and its duration.

    Raises UserError if it fails.
    """
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--configfile", str(path), "--profile", str(ROOT / "profiles" / "slurm")]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, *options], cwd=folder, capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise UserError(f"snakemake failed:\n{(done.stdout + done.stderr)[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout + done.stderr, Seconds(round(wall, 1), round(cpu, 1))


def local_rules() -> set[str]:
    """Return the rules that run where the workflow was started, read from the Snakefile."""
    text = (ROOT / "Snakefile").read_text()
    found = re.search(r"localrules:\n((?:    \w+,\n)+)", text)
    assert found is not None
    return set(re.findall(r"\w+", found[1]))


def submissions(jobs: dict[str, int], per_job: int) -> int:
    """Return the number of calls of sbatch: one for each job, or for each group of `per_job`."""
    return sum(
        -(-count // per_job) if rule in ("sample", "score") else count
        for rule, count in jobs.items()
        if rule not in {*local_rules(), "total"}
    )


def main() -> None:
    """Plan each study and print its load."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--studies", type=int, default=len(STUDIES), help="number of STUDIES to plan"
    )
    given = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    found = []
    for experiments, sets, per_job in STUDIES[: given.studies]:
        config = study(experiments, sets, per_job)
        with tempfile.TemporaryDirectory() as folder:
            _, graph = timed(Path(folder), config, "--rulegraph")
            printed, dry = timed(Path(folder), config, "--dry-run", "--quiet", "rules")
        rows = re.findall(r"^(\w+) +(\d+)$", printed, flags=re.M)
        jobs = {rule: int(count) for rule, count in rows}
        calls = submissions(jobs, per_job)
        here = sum(count for rule, count in jobs.items() if rule in local_rules())
        found.append(
            {
                **{"experiments": experiments, "sets": sets, "checkpoints_per_job": per_job},
                **{"jobs": jobs, "graph": asdict(graph), "dry_run": asdict(dry)},
                **{"sbatch": calls, "on_the_login_node": here},
            }
        )
        print(
            f"{experiments} experiments, {sets} sets, {per_job} checkpoints per job: "
            f"{jobs['total']:,} jobs, graph {graph.wall} s ({graph.cpu} of a core), "
            f"dry run {dry.wall} s ({dry.cpu}), {calls:,} calls of sbatch, "
            f"{here:,} jobs on the login node",
            flush=True,
        )
        print("  " + ", ".join(f"{rule} {count:,}" for rule, count in sorted(jobs.items())))
    polls = [3600 // LONGEST_POLL, 3600 // SHORTEST_POLL]
    print(
        f"queue polls per hour: from {polls[0]} while no job ends to {polls[1]} while jobs keep "
        "ending"
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    summary = {"processor": processor(), "polls_per_hour": polls, "peak_megabytes": round(peak)}
    print(json.dumps({**summary, "studies": found}))


if __name__ == "__main__":
    run(main)
