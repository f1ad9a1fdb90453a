"""The memory that a process may take on a machine without GPUs.

What is too large is then an exception in the process that built it, and not the kernel's killer
among a user's other programs.

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

from ddpm_bench.text import size_text

SHARE_OF_FREE = 0.9  # of memory; other programs take some meanwhile
NOTHING_SET = 2**60  # bytes: cgroup v1 says nearly 2^63 where there is no limit
# Of torch's allocators, cuBLAS and cuDNN, of C++, of glibc's threads and of OpenMP's.
OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|ALLOC(?:ATION)?_FAILED|std::bad_alloc"
    r"|(?:can't|cannot) allocate memory"
    r"|Thread creation failed|can't start new thread",
    re.I,
)


def share_bytes(asked_mb: int | None, processes: int) -> int | None:
    """What each of a node's processes may take: what is asked for, in megabytes, at most its share
    of what is free now. None where neither is known."""
    free = free_bytes()
    bounds = [] if free is None else [int(SHARE_OF_FREE * free / processes)]
    if asked_mb is not None:
        bounds.append(asked_mb * 10**6)
    return min(bounds, default=None)


def free_bytes() -> int | None:
    """Memory that this job can still take: of the machine, its cgroups and its SLURM job; None on
    a system that does not say."""
    bounds = [_available(), *_left_in_cgroups(), _of_slurm_job()]
    return min((bound for bound in bounds if bound is not None), default=None)


def _available() -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _left_in_cgroups(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> list[int]:
    """What each of the cgroups above this process leaves, of version 1 or 2 (cgroups(7))."""
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
    """The limit less what is used, but for files that the kernel can drop; [] without a limit."""
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
    """What SLURM gave the job on this node, in its megabytes of 2^20 bytes; None outside."""
    per_node = int(os.environ.get("SLURM_MEM_PER_NODE", "0"))  # 0: all that the node has
    cores = int(os.environ.get("SLURM_CPUS_ON_NODE", "0"))
    per_node = per_node or int(os.environ.get("SLURM_MEM_PER_CPU", "0")) * cores
    return per_node * 2**20 or None


def stay_below(ceiling: int) -> None:
    """Let this process take so many bytes of memory, and no more; call it when torch is imported.

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
    """Undo `stay_below`: what has failed needs some memory to say so."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def resident_bytes() -> int:
    """The memory that this process has taken and holds."""
    return _of_this_process("VmRSS")


def _of_this_process(name: str) -> int:
    """Bytes, by /proc/self/status."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None, name
    return int(found[1]) * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or one that it was raised from, says that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, RuntimeError) and OUT_OF_MEMORY.search(str(error)):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)
