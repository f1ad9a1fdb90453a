"""A limit on the memory of a process on a machine without GPUs.

A process that needs more than its limit gets an exception of its own; without one the kernel would
kill some program of the user's.

RLIMIT_DATA counts private writable memory as it is mapped, used or not: tensors, malloc's arenas as
they grow, 8 MB for the stack of each thread (gloo has three), and the writable parts of libraries:
with torch imported 150 MB more than is resident. So the ceiling is set after that import, and what
differs by then is given on top. Seen with torch 2.14 (resnet18, batches of 64, 512 and 4096,
ceilings from 720 to 2,000 MB, DistributedDataParallel on gloo): each batch that did not fit ended
in an exception of the allocator, and no process had more than 1.06 times its ceiling resident.
Shared memory is not counted.
"""

import errno
import os
import re
import resource
from pathlib import Path

import psutil

from ddpm_bench.records.log_tails import ALLOCATION_FAILED
from ddpm_bench.text import size_text

SHARE_OF_FREE = 0.9  # of memory; other programs take some meanwhile
NOTHING_SET = 2**60  # bytes: cgroup v1 has nearly 2^63 where there is no limit


def share_bytes(asked_mb: int | None, processes: int) -> int | None:
    """Return the bytes that each of a node's processes may take; None where nothing is known.

    They are the megabytes (10^6 bytes) that are asked for, at most its share of what is free now.
    """
    free = free_bytes()
    bounds = [] if free is None else [int(SHARE_OF_FREE * free / processes)]
    if asked_mb is not None:
        bounds.append(asked_mb * 10**6)
    return min(bounds, default=None)


def free_bytes() -> int | None:
    """Return the bytes of memory that this job can still take.

    The least of what the machine, its cgroups and its SLURM job leave; None where nothing bounds
    them.
    """
    bounds = [_available(), *_left_in_cgroups(), _of_slurm_job()]
    return min((bound for bound in bounds if bound is not None), default=None)


def _available() -> int:
    """Return the machine's memory, in bytes, that programs can take without swapping."""
    return psutil.virtual_memory().available


def _left_in_cgroups(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> list[int]:
    """Return the bytes left in each cgroup above this process, of version 1 or 2 (cgroups(7))."""
    left = []
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return left
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            below, limit, usage = root, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            below = root / "memory"
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # A container sees its own cgroup as the root, under whatever name the host has for it.
        folder = below / place.strip("/")
        for group in (folder, *folder.parents):
            if group.is_relative_to(below):
                left += _left(group, limit, usage)
    return left


def _left(group: Path, limit: str, usage: str) -> list[int]:
    """Return the limit less the used bytes, but for files that the kernel can drop.

    [] where there is no limit.
    """
    try:
        most = int((group / limit).read_text())
        used = int((group / usage).read_text())
        files = re.search(
            r"^(?:total_)?inactive_file (\d+)", (group / "memory.stat").read_text(), re.M
        )
    except (OSError, ValueError):  # no such folder; "max"
        return []
    return [max(0, most - used + (int(files[1]) if files else 0))] if most < NOTHING_SET else []


def _of_slurm_job() -> int | None:
    """Return the bytes that SLURM gave the job on this node; None outside a job.

    SLURM's megabytes have 2^20 bytes.
    """
    per_node = int(os.environ.get("SLURM_MEM_PER_NODE", "0"))  # 0: all that the node has
    cores = int(os.environ.get("SLURM_CPUS_ON_NODE", "0"))
    per_node = per_node or int(os.environ.get("SLURM_MEM_PER_CPU", "0")) * cores
    return per_node * 2**20 or None


def stay_below(ceiling: int) -> None:
    """Limit this process to so many bytes of memory; to be called when torch is imported.

    Raises MemoryError when it has taken more already.
    """
    resident, private = resident_bytes(), _of_this_process("VmData")
    if resident > ceiling:
        raise MemoryError(f"torch alone takes {size_text(resident)}")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = ceiling + private - resident
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def lift_ceiling() -> None:
    """Undo `stay_below`, as a process does that records its failure: that needs some memory."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def resident_bytes() -> int:
    """Return the bytes of memory that this process holds."""
    return _of_this_process("VmRSS")


def _of_this_process(name: str) -> int:
    """Return a size of this process in bytes, by its name in /proc/self/status.

    psutil has no VmData of its own: it adds the stack, which RLIMIT_DATA does not count.
    """
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None, name
    return int(found[1]) * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an exception, or one that has caused it, means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, RuntimeError) and ALLOCATION_FAILED.search(str(error)):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def more_memory(
    asked: tuple[int | None, str], ceiling: int | None, less: str, beyond_free: str
) -> str:
    """Return the remedy of a process that needed more memory, in words.

    asked: the megabytes (10^6 bytes) that it was given, None for no bound, and the name of the
    key; ceiling: the bytes that it could take; less: how it needs less memory; beyond_free: the
    reason of a ceiling below what was asked for, with its remedy.
    """
    megabytes, key = asked
    if megabytes is not None and (ceiling is None or ceiling >= megabytes * 10**6):
        return f"a process may take {megabytes:,} MB ({key}): raise it, or {less}"
    if ceiling is None:
        return less
    return f"a process may take {size_text(ceiling)}, {beyond_free}"
