"""Leases of GPUs: each local job holds its own, and no two hold the same one.

Snakemake counts GPUs but assigns none to a job. So a program locks one file per GPU for as long as
its process lives; the kernel frees a lock when its holder dies, SIGKILL included. All GPUs of a job
are taken under one allocator lock, so two jobs never wait for each other's half. On SLURM the
scheduler has chosen: the locks are those of one allocation, so they decide only between programs
that were started side by side inside it, and nothing outside is waited for.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ddpm_bench.errors import UserError
from ddpm_bench.machine.slurm_job import job_id, node_name

POLL_SECONDS = 0.5


def present_devices() -> list[str]:
    """Return the GPUs that this process may use, by index or UUID; [] on a machine without GPUs.

    DDPM_BENCH_DEVICES (comma-separated names) replaces what the machine has.
    """
    for variable in ("DDPM_BENCH_DEVICES", "CUDA_VISIBLE_DEVICES"):
        if variable in os.environ:
            names = [name.strip() for name in os.environ[variable].split(",")]
            return list(itertools.takewhile(_is_device, names))
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    listing = subprocess.run(query, capture_output=True, text=True, check=False)
    return listing.stdout.split() if listing.returncode == 0 else []


def _is_device(name: str) -> bool:
    """Return True for the name of a GPU.

    CUDA takes the names before the first that is none: -1 hides all, SLURM has NoDevFiles.
    """
    return name not in ("", "-1", "NoDevFiles")


def lock_folder() -> Path:
    """Return the folder of the locks: one for all users of a machine, or of a SLURM job's node.

    It lies in DDPM_BENCH_DEVICE_LOCKS, or in the folder for temporary files.
    """
    job = job_id()
    ours = f"ddpm-bench-devices-{os.getuid()}-slurm-{job}-{node_name() or ''}"
    name = ours if job else "ddpm-bench-devices"
    return Path(os.environ.get("DDPM_BENCH_DEVICE_LOCKS", tempfile.gettempdir())) / name


@contextmanager
def lease(count: int) -> Iterator[list[str]]:
    """Hold `count` GPUs until the block ends, waiting until so many are free.

    Sets CUDA_VISIBLE_DEVICES, so call it before CUDA starts. Yields their names, or [] on a
    machine without GPUs. Raises UserError when the machine has fewer than `count`.
    """
    devices = present_devices()
    if not devices:
        yield []
        return
    if len(devices) < count:
        raise UserError(
            f"{count} GPUs are asked for (run.gpus) and this machine offers {len(devices)}: "
            f"{', '.join(devices)}; lower run.gpus or widen CUDA_VISIBLE_DEVICES"
        )
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    with ExitStack() as held:
        names = _take(devices, count, held)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names)
        try:
            yield names
        finally:
            del os.environ["CUDA_VISIBLE_DEVICES"]
            if before is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = before


def _take(devices: list[str], count: int, held: ExitStack) -> list[str]:
    """Lock `count` GPUs; raise UserError where the locks cannot be written."""
    folder = lock_folder()
    try:
        return _wait_for(folder, devices, count, held)
    except PermissionError as error:
        raise UserError(
            f"{error.filename or folder}: the locks of this machine's GPUs cannot be written; set "
            "DDPM_BENCH_DEVICE_LOCKS to a folder that all its users may write"
        ) from None


def _wait_for(folder: Path, devices: list[str], count: int, held: ExitStack) -> list[str]:
    """Lock `count` GPUs as soon as so many are free at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):  # another user's, who has done so
        # Not sticky: there, the kernel may refuse to open what another user has made.
        folder.chmod(0o777)
    waiting = False
    while True:
        with FileLock(folder / "allocator.lock", mode=0o666), ExitStack() as attempt:
            names = []
            for name in devices:
                if len(names) < count and _try_lock(folder, name, attempt):
                    names.append(name)
            if len(names) == count:
                held.push(attempt.pop_all())
                return names
        if not waiting:
            holders = ", ".join(f"{name} by {_holder(folder, name)}" for name in devices)
            print(f"waiting for {count} free GPUs; held: {holders}", file=sys.stderr, flush=True)
            waiting = True
        time.sleep(POLL_SECONDS)


def _try_lock(folder: Path, name: str, stack: ExitStack) -> bool:
    try:
        stack.enter_context(FileLock(folder / f"{name}.lock", timeout=0, mode=0o666))
    except Timeout:
        return False
    with suppress(OSError):  # left by another user: then only the message is poorer
        (folder / f"{name}.holder").write_text(json.dumps({"pid": os.getpid()}))
    return True


def _holder(folder: Path, name: str) -> str:
    """Return the holder of a GPU, in words."""
    try:
        return f"process {json.loads((folder / f'{name}.holder').read_text())['pid']}"
    except (OSError, ValueError, KeyError):
        return "a process that did not say who it is"
