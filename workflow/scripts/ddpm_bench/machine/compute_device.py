"""The device and the threads that torch computes with."""

import os
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

from ddpm_bench.errors import EXIT_USER_ERROR, UserError
from ddpm_bench.machine.cuda_limits import ON_THE_CPU, driver_is_old, remedy, without_code
from ddpm_bench.machine.gpu_listing import NvidiaGpu, driver_version, present_devices
from ddpm_bench.machine.host import usable_threads
from ddpm_bench.machine.shared_cores import spin_on_idle_cores_only
from ddpm_bench.machine.torch_build import TorchBuild, torch_build

if TYPE_CHECKING:
    import torch

# Set by tests where devices are stand-ins: programs lease them, and compute on the CPU.
STAND_INS = "DDPM_BENCH_STAND_IN_GPUS"


def compute_device(cpus: int, tf32: bool = False) -> "torch.device":
    """Let torch use up to `cpus` threads on the CPU; return the GPU, or the CPU without one.

    tf32: as `round_to_tf32` takes it; the CPU always computes in full float32. Imports torch: to be
    called after GPUs are leased, which decides those that torch sees. Raises UserError where there
    is a GPU that torch cannot use.
    """
    import torch

    set_threads(cpus)
    if not gpu_is_usable():
        return torch.device("cpu")
    check_compiled_code()
    round_to_tf32(tf32)
    return torch.device("cuda")


def round_to_tf32(allowed: bool) -> None:
    """Let GPUs round the inputs of float32 products to 10 bits of mantissa (TF32), or forbid it.

    Holds for matrix products and convolutions. torch rounds in convolutions if nothing is set, and
    in matrix products, too, where TORCH_ALLOW_TF32_CUBLAS_OVERRIDE is set, as in some containers.
    """
    import torch

    # Not by `fp32_precision`: torch.get_float32_matmul_precision, which the autotuning of
    # torch.compile calls, raises RuntimeError once `cuda.matmul` is set by that (torch 2.10, 2.14).
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def set_threads(cpus: int) -> None:
    """Let torch use up to `cpus` threads on the CPU, which do not spin on cores that are shared."""
    import torch

    threads = usable_threads(cpus)
    torch.set_num_threads(threads)
    spin_on_idle_cores_only(threads)


def gpu_is_usable() -> bool:
    """Return True if torch can use a GPU, and False on a machine without GPUs.

    Raises UserError where there is a GPU that torch cannot use: a computation on the CPU would take
    a hundred times as long.
    """
    import torch

    if torch.cuda.is_available():
        return True
    devices = present_devices()
    if devices and STAND_INS not in os.environ:
        raise UserError(unusable(devices, torch_build(), driver_version(), _reason()))
    return False


def check_compiled_code() -> None:
    """Raise UserError where torch has no code for a GPU of NVIDIA's, which would fail later.

    Starts CUDA: to be called in the process that computes, or in one that ends before it.
    """
    import torch

    if torch.version.cuda is None:
        return
    architectures = torch.cuda.get_arch_list()
    for number in range(torch.cuda.device_count()):
        with warnings.catch_warnings():  # torch warns of the same in many lines
            warnings.simplefilter("ignore")
            capability = torch.cuda.get_device_capability(number)
        if without_code(capability, architectures):
            named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
            index = named[number] if number < len(named) and named[number] else str(number)
            name = torch.cuda.get_device_name(number)
            raise UserError(no_code(NvidiaGpu(index, name, capability), architectures))


def no_code(gpu: NvidiaGpu, architectures: list[str]) -> str:
    """Return the error about a GPU for which the installed torch holds no code.

    architectures: those that it holds code for, of torch.cuda.get_arch_list().
    """
    build = torch_build()
    ways = remedy(build, driver_version(), [gpu.capability])
    return (
        f"{gpu.in_words()}: torch {build.version} has no code for it, only for "
        f"{', '.join(architectures)}; {ways}; {ON_THE_CPU}"
    )


def check_gpu_in_another_process() -> None:
    """Raise UserError where there is a GPU that torch cannot use; CUDA is not started here."""
    ask = (
        "from ddpm_bench.cli import run; from ddpm_bench.machine.compute_device import "
        "check_compiled_code, gpu_is_usable; run(lambda: gpu_is_usable() and check_compiled_code())"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    asked = subprocess.run(
        [sys.executable, "-c", ask],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == EXIT_USER_ERROR:
        lines = asked.stderr.splitlines()  # torch's reason may hold "error: ", too
        ours = (line[7:] for line in lines if line.startswith("error: "))
        raise UserError(next(ours, asked.stderr.strip()))


def _reason() -> str:
    """Return the reason of torch for which it uses no GPU, in a line."""
    import torch

    try:
        torch.cuda.init()
    except Exception as error:  # of several kinds, and an AssertionError
        return (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
    return "torch finds no GPU"


def unusable(devices: list[str], build: TorchBuild, driver: str | None, reason: str) -> str:
    """Return the error about GPUs that torch cannot use: what is installed, and the remedy."""
    gpus = f"GPU{'s' * (len(devices) > 1)} {', '.join(devices)}"
    made_for = f"CUDA {build.cuda}" if build.cuda else f"ROCm {build.hip}"
    if build.cuda is None and build.hip is None:
        made_for = "CPUs only"
    todo = f"look whether nvidia-smi shows {gpus}, and at CUDA_VISIBLE_DEVICES"
    if build.cuda is None and build.hip is None:
        todo = "install a torch that is built for it (`make env` does)"
    elif driver_is_old(build, driver):
        todo = remedy(build, driver, [])
    return (
        f"{gpus}: torch cannot use what this job was given: {reason} (driver "
        f"{driver or 'unknown'}, torch {build.version} built for {made_for}); {todo}; "
        f"{ON_THE_CPU}"
    )
