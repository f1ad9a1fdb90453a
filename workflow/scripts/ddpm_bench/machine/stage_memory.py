"""The memory that a process of a stage may take, on GPUs and without, and failures to have more."""

import os

import torch

from ddpm_bench.config.block import Failing
from ddpm_bench.errors import DivergedError, UserError
from ddpm_bench.machine.compute_device import gpu_is_usable
from ddpm_bench.machine.memory_limit import (
    is_out_of_memory,
    lift_ceiling,
    more_memory,
    share_bytes,
    stay_below,
)
from ddpm_bench.machine.process_failures import (
    ProcessFailure,
    first_line,
    one_line,
    what_did_not_fit,
)


def bound_memory(run: Failing) -> int | None:
    """Bound this process's memory by its `run` block; return the bytes, None without a bound.

    To be called when torch is imported and the GPUs are leased. On CPUs a stage whose failure is
    recorded takes at most a share of what is free: what does not fit is then an exception of its
    own, and not the end of other programs. Raises UserError where there is a GPU that torch cannot
    use.
    """
    asked = run.memory_mb_per_process
    if gpu_is_usable():
        if asked is None:
            return None
        bound_gpu_memory(asked, int(os.environ.get("LOCAL_RANK", "0")))
        return asked * 10**6
    if asked is None and run.on_failure != "record":
        return None
    ceiling = share_bytes(asked, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if ceiling is not None:
        stay_below(ceiling)
    return ceiling


def bound_gpu_memory(megabytes: int, device: int | torch.device) -> None:
    """Let this process take so many megabytes (10^6 bytes) of a GPU, at most all of it."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, megabytes * 10**6 / total), device)


def recordable(error: BaseException, run: Failing, ceiling: int | None) -> ProcessFailure | None:
    """Return the failure that an exception is, to be recorded as a result of the keys.

    None for an exception that is no such result: a full disk, a missing file, another trainer.
    ceiling: the bytes that `bound_memory` has returned.
    """
    if isinstance(error, DivergedError):
        return ProcessFailure("diverged", one_line(error.reason))
    if isinstance(error, UserError):
        return None
    if not torch.cuda.is_available():
        lift_ceiling()  # to record a failure needs some memory
    if is_out_of_memory(error):
        remedy = _remedy(run, ceiling)
        return ProcessFailure("out of memory", f"{what_did_not_fit(error)}; {remedy}")
    if isinstance(error, OSError):  # of files: trying again may mend it
        return None
    return ProcessFailure("crashed", f"{one_line(first_line(error))} (traceback in the log)")


def _remedy(run: Failing, ceiling: int | None) -> str:
    less = "lower batch_size"
    if "micro_batch_size" in type(run).model_fields:
        less = "lower run.micro_batch_size, or set run.activation_checkpointing"
    return more_memory(
        (run.memory_mb_per_process, "run.memory_mb_per_process"),
        ceiling,
        less,
        f"most of the memory that was free: {less}, or end other programs",
    )
