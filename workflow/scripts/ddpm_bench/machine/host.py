"""This machine: its boot, its processes and the processor cores that a job may use."""

import os
import platform
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ddpm_bench.machine.slurm_job import job_id, node_name

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


# Snakemake gives a job's threads in this variable and others, and hardly anyone else sets it.
GRANTED = "GOTO_NUM_THREADS"
# OMP_NUM_THREADS of who started the workflow: Snakemake replaces it in the jobs.
USERS_THREADS = "DDPM_BENCH_OMP_NUM_THREADS"


def usable_cores(wanted: int, processes: int | None = None) -> int:
    """Return `wanted`, or the number of CPU cores that this process may use, if that is less.

    Those are the ones that the system lets it use, as many as Snakemake has given the job, shared
    by the job's `processes` on this node; by default as many as torchrun has started. At least 1.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    granted = _number(GRANTED)
    if granted is not None:
        cores = min(cores, granted)
    return max(1, min(wanted, cores // (processes or _number("LOCAL_WORLD_SIZE") or 1)))


def usable_threads(wanted: int, processes: int | None = None) -> int:
    """Return `wanted`, or the number of threads that this process may have, if that is less.

    Those are `usable_cores`, at most OMP_NUM_THREADS of this process and of who started the
    workflow.
    """
    limits = (_number("OMP_NUM_THREADS"), _number(USERS_THREADS))
    return min(usable_cores(wanted, processes), *(limit for limit in limits if limit), wanted)


def keep_users_threads() -> None:
    """Keep OMP_NUM_THREADS for the jobs of this workflow, which get another from Snakemake."""
    if _number("OMP_NUM_THREADS"):
        os.environ.setdefault(USERS_THREADS, os.environ["OMP_NUM_THREADS"])


def _number(variable: str) -> int | None:
    """Return the first number of an environment variable, such as 4 of "4,2"; None without one."""
    first = os.environ.get(variable, "").partition(",")[0].strip()
    return int(first) if first.isdigit() and int(first) else None


def processor() -> str:
    """Return the CPU's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@dataclass(frozen=True)
class Use:
    """The place and time of a program's computation, by which jobs side by side are told apart."""

    started: str  # UTC, ISO 8601
    node: str  # SLURM's name of it, or the machine's
    gpus: list[str]  # as leased; none on a CPU
    slurm_job: str | None

    @classmethod
    def begin(cls, gpus: list[str]) -> "Use":
        """Return the use of this process that begins now, with these GPUs."""
        return cls(
            started=datetime.now(UTC).isoformat(),
            node=node_name() or socket.gethostname(),
            gpus=gpus,
            slurm_job=job_id(),
        )

    def until_now(self) -> dict[str, Any]:
        """Return the use for JSON, which ends now: `ended` beside `started`."""
        return {**asdict(self), "ended": datetime.now(UTC).isoformat()}


def boot_id() -> str | None:
    """Return the identifier of this boot of this machine's kernel; None where /proc has none."""
    try:
        return BOOT_ID.read_text().strip() or None
    except OSError:
        return None


def is_this_machine(boot: str | None, host: str) -> bool:
    """Return True if a process of this boot and host name runs, or ran, on this machine.

    The host name decides where one of the boots is unknown.
    """
    here = boot_id()
    if here is not None and boot is not None:
        return here == boot
    return socket.gethostname() == host


def start_ticks(process: int) -> int | None:
    """Return the start time of a process in clock ticks after boot (field 22 of its stat).

    None where there is no such process, or no /proc.
    """
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
