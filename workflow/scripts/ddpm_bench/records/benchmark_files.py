"""Snakemake's benchmark files: time, memory and processor time of a job."""

import ast
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddpm_bench.errors import UserError

# Memory of the two snakemakes that run beside a job's program on a cluster's node, rounded: one
# took 135 MB of 10^6 bytes (comparisons/README.md).
SNAKEMAKE_MIB = 250


@dataclass(frozen=True)
class JobBenchmark:
    """The last row of a benchmark file: that of the attempt that succeeded."""

    seconds: float
    memory_mib: float | None  # peak resident memory; None for a job that was too short
    cpu_seconds: float | None
    threads: int | None = None  # of Snakemake's extended format, as are the resources
    resources: dict[str, Any] = field(default_factory=dict)  # requested ones


@dataclass(frozen=True)
class BenchmarkUsage:
    """Time, memory and requested resources of one job."""

    stage: str
    experiment: str
    dataset: str
    seconds: float  # of the successful attempt
    memory_mib: float | None
    cpu_seconds: float | None
    gpus: int
    cpus: int | None
    requested_mb: float | None  # SLURM's users mean 10^6 bytes, SLURM 2^20: the number as written
    requested_minutes: float | None
    earlier_seconds: float = 0.0  # of earlier attempts, if known


def read_benchmark(path: Path) -> JobBenchmark:
    """Read the last row of a benchmark file, a table separated by tabs.

    Raises OSError, ValueError, KeyError or IndexError if the file has no whole row.
    """
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    row = dict(zip(header.split("\t"), rows[-1].split("\t"), strict=True))
    return JobBenchmark(
        seconds=float(row["s"]),
        # Not PSS: it would charge a part of the libraries to whatever else ran on the machine.
        memory_mib=_number(row["max_rss"]),
        cpu_seconds=_number(row["cpu_time"]),
        threads=int(row["threads"]) if "threads" in row else None,
        resources=_resources(row.get("resources", "")),
    )


def measured(
    path: Path, stage: str, experiment: str, dataset: str, has_gpus: bool
) -> BenchmarkUsage:
    """Return the usage in one benchmark file; without extended columns, requests are None.

    has_gpus: True if this machine has GPUs, which jobs without SLURM then held. Raises UserError
    if the file has no whole row.
    """
    try:
        job = read_benchmark(path)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"{path}: damaged ({error}); delete it: its job's time and memory are then left out"
        ) from None
    asked = job.resources
    on_slurm = "slurm_partition" in asked
    return BenchmarkUsage(
        stage=stage,
        experiment=experiment,
        dataset=dataset,
        seconds=job.seconds,
        memory_mib=job.memory_mib,
        cpu_seconds=job.cpu_seconds,
        gpus=int(asked.get("gpu") or 0) if on_slurm or has_gpus else 0,
        cpus=job.threads,
        requested_mb=_number(asked.get("mem_mb")) if on_slurm else None,
        requested_minutes=_number(asked.get("runtime")) if on_slurm else None,
    )


def seconds_and_memory(path: Path) -> tuple[float, float] | None:
    """Return (seconds, peak memory in MB of 10^6 bytes) of one benchmark file.

    None if it has no whole row, or no memory because the job was too short.
    """
    try:
        job = read_benchmark(path)
    except (OSError, ValueError, KeyError, IndexError):
        return None
    return None if job.memory_mib is None else (job.seconds, job.memory_mib * 2**20 / 1e6)


def _resources(text: str) -> dict[str, Any]:
    """Return the requested resources of a job, which Snakemake prints as a dict; {} without."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    """Return a finite number, or None for any other value."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
