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
from ddpm_bench.machine.compute_device import gpu_is_usable, set_threads
from ddpm_bench.machine.process_group import join_process_group

OLDEST_OF_TRITON = (7, 0)  # compute capability, of Volta


def build_accelerator(keys: Optimisation, run: TrainRun, folder: Path) -> Accelerator:
    """Set torch up for a training; return accelerate's object for this process and the others.

    folder: where trackers write. Raises UserError when the batch does not divide over
    processes, or when there is a GPU that torch cannot use.
    """
    set_threads(run.cpus)
    on_gpu = gpu_is_usable()
    if keys.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as torch's notes ask for
        torch.use_deterministic_algorithms(True)
    elif on_gpu:
        torch.set_float32_matmul_precision("high")  # TF32
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
    # torch would end the training at its first step.
    capability = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and capability < OLDEST_OF_TRITON:
        old = ".".join(map(str, capability))
        print(f"a GPU of compute capability {old}: training without torch.compile", file=sys.stderr)
        return False
    if importlib.util.find_spec("triton") is None:
        print("no Triton is installed: training without torch.compile", file=sys.stderr)
        return False
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    headers = Path(sysconfig.get_paths()["include"], "Python.h").exists()
    if not (compiler and headers):
        print("no C compiler or no Python.h: training without torch.compile", file=sys.stderr)
    return bool(compiler) and headers


def keep_compiled_code(place: Path) -> None:
    """Let torch.compile keep its code in a folder for the next job.

    Its own folder is below /tmp, which is gone by then on a cluster.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(place.absolute()))
