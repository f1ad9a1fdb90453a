"""The setup of a training's process: its device, threads, fast paths and compiled code."""

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration

from ddpm_bench.config.training import Optimisation, TrainRun, misfit
from ddpm_bench.errors import UserError
from ddpm_bench.machine.compute_device import (
    check_compiled_code,
    gpu_is_usable,
    round_to_tf32,
    set_threads,
)
from ddpm_bench.machine.process_group import join_process_group

OLDEST_OF_TRITON = (7, 0)  # compute capability, of Volta


def build_accelerator(keys: Optimisation, run: TrainRun, folder: Path) -> Accelerator:
    """Set torch up for a training; return accelerate's object for this process and the others.

    folder: where trackers write. Raises UserError when the batch does not divide over
    processes, or when there is a GPU that torch cannot use.
    """
    set_threads(run.cpus)
    on_gpu = gpu_is_usable()
    if on_gpu:
        check_compiled_code()
        round_to_tf32(not keys.deterministic)
    if keys.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as torch's notes ask for
        torch.use_deterministic_algorithms(True)
    elif on_gpu:
        torch.backends.cudnn.benchmark = True
    join_process_group(on_gpu)
    # Precision is ours: accelerate refuses fp16 on CPUs, and its scaler waits for the device.
    accelerator = Accelerator(
        cpu=not on_gpu,
        mixed_precision="no",
        log_with=run.tracker,
        project_config=ProjectConfiguration(logging_dir=str(folder / "tracker")),
        # No network here learns by its buffers.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    if keys.batch_size % accelerator.num_processes:
        raise UserError(f"train.{misfit(keys.batch_size, accelerator.num_processes)}")
    return accelerator


def compiling_is_asked_for(run: TrainRun, device: torch.device) -> bool:
    """Return True if torch.compile is to be used.

    With `auto` on GPUs that Triton computes on, where it has a C compiler and Python's headers.
    """
    if run.compile != "auto" or device.type != "cuda":
        return run.compile is True
    reason = _reason_not_to_compile(device)
    if reason is not None:
        print(f"{reason}: training without torch.compile", file=sys.stderr)
    return reason is None


def _reason_not_to_compile(device: torch.device) -> str | None:
    """Return why torch.compile would end a training on a GPU at its first step; None if not."""
    capability = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and capability < OLDEST_OF_TRITON:
        return f"a GPU of compute capability {'.'.join(map(str, capability))}"
    if importlib.util.find_spec("triton") is None:
        return "no Triton is installed"
    return None if compiler_is_there() else "no C compiler or no Python.h"


def compiler_is_there() -> bool:
    """Return True if Triton finds what it compiles with: a C compiler and Python's headers."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return bool(compiler) and Path(sysconfig.get_paths()["include"], "Python.h").exists()


def keep_compiled_code(place: Path) -> None:
    """Let torch.compile keep its code in a folder for the next job.

    Its own folder is below /tmp, which is gone by then on a cluster.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(place.absolute()))
