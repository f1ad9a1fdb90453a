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


def usable_cores(wanted: int) -> int:
    """Return `wanted`, or the number of CPU cores that this process may use, if that is less.

    torchrun's processes of one node share its cores. At least 1.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(wanted, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


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
