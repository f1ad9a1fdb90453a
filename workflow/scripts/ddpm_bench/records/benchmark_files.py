"""Snakemake's benchmark files: time, memory and processor time of a job."""

import ast
import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BenchmarkUsage:
    """One job."""

    stage: str
    experiment: str
    dataset: str
    seconds: float  # of the successful attempt
    memory_mib: float | None
    cpu_seconds: float | None
    gpus: int
    cpus: int | None
    requested_mb: float | None  # 10^6 bytes are meant by SLURM's users, 2^20 by SLURM: as written
    requested_minutes: float | None
    earlier_seconds: float = 0.0  # of attempts before it that are known


def measured(
    path: Path, stage: str, experiment: str, dataset: str, has_gpus: bool
) -> BenchmarkUsage:
    """Read one benchmark file; without the extended columns what was requested is None."""
    row = _last_row(path)
    asked = _resources(row.get("resources", ""))
    on_slurm = "slurm_partition" in asked
    return BenchmarkUsage(
        stage=stage,
        experiment=experiment,
        dataset=dataset,
        seconds=float(row["s"]),
        # Not PSS: it would charge a part of the libraries to whatever else ran on the machine.
        memory_mib=_number(row["max_rss"]),
        cpu_seconds=_number(row["cpu_time"]),
        gpus=int(asked.get("gpu") or 0) if on_slurm or has_gpus else 0,
        cpus=int(row["threads"]) if "threads" in row else None,
        requested_mb=_number(asked.get("mem_mb")) if on_slurm else None,
        requested_minutes=_number(asked.get("runtime")) if on_slurm else None,
    )


def _resources(text: str) -> dict[str, object]:
    """What a job asked for, as Snakemake prints it; {} where it did not."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def seconds_and_memory(path: Path) -> tuple[float, float] | None:
    """Return (seconds, peak memory in MB of 10^6 bytes) of one benchmark file.

    max_rss is in units of 2^20 bytes there. None where it holds none ("-": the job was too short).
    """
    try:
        row = _last_row(path)
        return float(row["s"]), float(row["max_rss"]) * 2**20 / 1e6
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _last_row(path: Path) -> dict[str, str]:
    """Return the last row of a benchmark file by column: that of the attempt that succeeded.

    Raises OSError, ValueError or IndexError where the file has no whole row.
    """
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    return dict(zip(header.split("\t"), rows[-1].split("\t"), strict=True))
