"""What a process of a stage may take of memory, on GPUs and without, and what it says when it needs
more."""

import os

import torch

from ddpm_bench.config.block import Failing
from ddpm_bench.errors import DivergedError, UserError
from ddpm_bench.machine.memory_limit import is_out_of_memory, lift_ceiling, share_bytes, stay_below
from ddpm_bench.machine.process_failures import (
    ProcessFailure,
    first_line,
    one_line,
    what_did_not_fit,
)
from ddpm_bench.text import size_text


def bound_memory(run: Failing) -> int | None:
    """Let this process take what its `run` block says; returns the ceiling in bytes, None without.

    To be called when torch is imported and the GPUs are leased. On CPUs a stage whose failure is
    recorded takes at most a share of what is free: what does not fit is then an exception of its
    own, and not the end of other programs.
    """
    asked = run.memory_mb_per_process
    if torch.cuda.is_available():
        if asked is not None:
            device = int(os.environ.get("LOCAL_RANK", "0"))
            total = torch.cuda.get_device_properties(device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, asked * 10**6 / total), device)
        return None if asked is None else asked * 10**6
    if asked is None and run.on_failure != "record":
        return None
    ceiling = share_bytes(asked, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if ceiling is not None:
        stay_below(ceiling)
    return ceiling


def recordable(error: BaseException, run: Failing, ceiling: int | None) -> ProcessFailure | None:
    """The failure that an exception is; None for one that is no result of the keys: a full disk, a
    file that is missing, another trainer."""
    if isinstance(error, DivergedError):
        return ProcessFailure("diverged", one_line(error.reason))
    if isinstance(error, UserError):
        return None
    if not torch.cuda.is_available():
        lift_ceiling()  # what has failed needs some memory to say so
    if is_out_of_memory(error):
        return ProcessFailure(
            "out of memory", f"{what_did_not_fit(error)}; {_remedy(run, ceiling)}"
        )
    if isinstance(error, OSError):  # of files: trying again may mend it
        return None
    return ProcessFailure("crashed", f"{one_line(first_line(error))} (traceback in the log)")


def _remedy(run: Failing, ceiling: int | None) -> str:
    less = "lower batch_size"
    if "micro_batch_size" in type(run).model_fields:
        less = "lower run.micro_batch_size, or set run.activation_checkpointing"
    asked = run.memory_mb_per_process
    if asked is not None and (ceiling is None or ceiling >= asked * 10**6):
        return f"a process may take {asked:,} MB (run.memory_mb_per_process): raise it, or {less}"
    if ceiling is None:
        return less
    return (
        f"a process may take {size_text(ceiling)}, most of the memory that was free: {less}, or "
        "end other programs"
    )
