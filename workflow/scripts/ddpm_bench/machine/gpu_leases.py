"""Leases of GPUs: each local job holds its own, and no two hold the same one.

Snakemake counts GPUs but assigns none to a job. So a program locks one file per GPU for as long as
its process lives; the kernel frees a lock when its holder dies, SIGKILL included. All GPUs of a job
are taken under one allocator lock, so two jobs never wait for each other's half. On SLURM the
scheduler has chosen: the locks are those of one allocation, so they decide only between programs
that were started side by side inside it, and nothing outside is waited for.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ddpm_bench.errors import UserError
from ddpm_bench.machine.gpu_listing import is_slice, present_devices
from ddpm_bench.machine.lock_files import (
    ALLOCATOR,
    LockFolder,
    RemovedError,
    open_lock_folder,
)
from ddpm_bench.machine.slurm_job import job_id

POLL_SECONDS = 0.5


@contextmanager
def lease(count: int) -> Iterator[list[str]]:
    """Hold `count` GPUs until the block ends, waiting until so many are free.

    Sets CUDA_VISIBLE_DEVICES, so call it before CUDA starts. Yields their names, or [] on a
    machine without GPUs. Raises UserError when the machine has fewer than `count`, or none that
    several processes can use together, or when its locks cannot be trusted.
    """
    devices = offered_devices(count)
    if not devices:
        yield []
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    with ExitStack() as held:
        held.callback(_remove_the_folder_of_a_slurm_job)  # last
        names = _take(devices, count, held)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names)
        try:
            yield names
        finally:
            del os.environ["CUDA_VISIBLE_DEVICES"]
            if before is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = before


def _remove_the_folder_of_a_slurm_job() -> None:
    """Remove the folder of the locks where no other job will use it, unless it is in use."""
    if job_id() is not None:
        with suppress(UserError), open_lock_folder() as folder:
            folder.remove_if_free()


def offered_devices(count: int) -> list[str]:
    """Return the GPUs of which a job may take `count`; [] on a machine without GPUs.

    Raises UserError where there are fewer.
    """
    devices = present_devices()
    # CUDA shows a process one slice at most.
    usable = [name for name in devices if count == 1 or not is_slice(name)]
    if devices and len(usable) < count:
        slices = "; a slice of a GPU (MIG) serves a job of one process only"
        raise UserError(
            f"{count} GPUs are asked for (run.gpus) and this machine offers {len(usable)}: "
            f"{', '.join(devices)}{slices if usable != devices else ''}; lower run.gpus or widen "
            "CUDA_VISIBLE_DEVICES"
        )
    return usable


def _take(devices: list[str], count: int, held: ExitStack) -> list[str]:
    """Lock `count` GPUs as soon as so many are free at once."""
    waiting = False
    while True:
        with suppress(RemovedError), open_lock_folder() as folder:
            names = _lock_free_ones(folder, devices, count, held)
            if names:
                return names
            if not waiting:
                print(_waiting_for(count, devices, folder), file=sys.stderr, flush=True)
                waiting = True
        time.sleep(POLL_SECONDS)


def _lock_free_ones(
    folder: LockFolder, devices: list[str], count: int, held: ExitStack
) -> list[str]:
    """Lock `count` of the devices until `held` is closed; [] if fewer are free."""
    with folder.waited_for(ALLOCATOR), ExitStack() as attempt:
        names: list[str] = []
        for name in devices:
            if len(names) < count and folder.try_lock(name, attempt):
                names.append(name)
        if len(names) < count:
            return []
        held.push(attempt.pop_all())
        return names


def _waiting_for(count: int, devices: list[str], folder: LockFolder) -> str:
    """Return a line about the GPUs that are waited for, and the processes that hold them."""
    holders = ", ".join(f"{name} by {folder.holder(name)}" for name in devices)
    return f"waiting for {count} free GPUs; held: {holders}"
