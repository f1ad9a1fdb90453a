"""Drivers and GPUs of NVIDIA that a build of torch needs, and what to do where it has others."""

import os

from ddpm_bench.machine.gpu_listing import NvidiaGpu, driver_version, named_devices, nvidia_gpus
from ddpm_bench.machine.torch_build import TorchBuild, torch_build

# The first driver for each major version of CUDA: NVIDIA's table of minor version compatibility.
FIRST_DRIVER = {"11": 450, "12": 525, "13": 580}
# The lowest compute capability of torch's wheels of each lock: their torch.cuda.get_arch_list().
FIRST_CAPABILITY = {"12": (7, 0), "13": (7, 5)}
OLDER_LOCK = "envs/requirements-cuda12.lock"
LEAVE_OUT = "name other GPUs in CUDA_VISIBLE_DEVICES"
ON_THE_CPU = "to compute on the CPU instead, set CUDA_VISIBLE_DEVICES= (empty)"


def misfit_of_this_machine() -> str | None:
    """Return a line about GPUs or a driver here that the installed torch cannot use.

    None where all fit or nothing is known, as on a login node without a driver. torch is not
    imported.
    """
    build = torch_build()
    if build.cuda is None or not named_devices(os.environ.get("CUDA_VISIBLE_DEVICES", "all")):
        return None
    return misfit(build, driver_version(), nvidia_gpus())


def misfit(build: TorchBuild, driver: str | None, gpus: list[NvidiaGpu]) -> str | None:
    """Return a line about a driver or GPUs that a build of torch cannot use; None if it can."""
    faults = []
    if driver_is_old(build, driver):
        faults.append(f"its driver {driver} is older than {FIRST_DRIVER[_major(build)]}")
    least = FIRST_CAPABILITY.get(_major(build), (0, 0))
    old = [gpu for gpu in gpus if gpu.capability < least]
    faults += [f"{gpu.in_words()} is below {_text(least)}" for gpu in old]
    if not faults:
        return None
    return (
        f"torch {build.version}, built for CUDA {build.cuda}, does not fit this machine: "
        f"{' and '.join(faults)}; {remedy(build, driver, [gpu.capability for gpu in old])}; "
        f"{ON_THE_CPU}"
    )


def driver_is_old(build: TorchBuild, driver: str | None) -> bool:
    """Return True for a driver that is older than the build of torch needs."""
    needed = FIRST_DRIVER.get(_major(build))
    return driver is not None and needed is not None and _number(driver) < needed


def remedy(build: TorchBuild, driver: str | None, unfit: list[tuple[int, int]]) -> str:
    """Return what to do about an old driver, and about GPUs of capabilities that do not fit.

    The lock for CUDA 12 is named where it serves both.
    """
    with_this_torch = [LEAVE_OUT] if unfit else []
    if driver_is_old(build, driver):
        with_this_torch.insert(0, f"update the driver to {FIRST_DRIVER[_major(build)]} or newer")
    ways = [" and ".join(with_this_torch)] if with_this_torch else []
    served = all(FIRST_CAPABILITY["12"] <= one < FIRST_CAPABILITY["13"] for one in unfit)
    fits = driver is None or _number(driver) >= FIRST_DRIVER["12"]
    if _major(build) not in ("11", "12") and served and fits:
        ways.append(f"install torch for CUDA 12: make env LOCK={OLDER_LOCK}")
    elif not served:
        ways.append("install a torch that is built for them")
    return ", or ".join(ways)


def without_code(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Return True for a compute capability for which a torch holds no code that runs.

    architectures: of torch.cuda.get_arch_list(). Code of sm_86 runs on 8.6 and later 8.x, that of
    compute_90 is compiled for any capability from 9.0 on. False where there are none.
    """
    major, minor = capability
    for architecture in architectures:
        kind, _, digits = architecture.partition("_")
        number = int("".join(digit for digit in digits if digit.isdigit()))
        if kind == "compute" and number <= 10 * major + minor:
            return False
        if kind == "sm" and number // 10 == major and number % 10 <= minor:
            return False
    return bool(architectures)


def _major(build: TorchBuild) -> str:
    return (build.cuda or "").partition(".")[0]


def _number(driver: str) -> int:
    return int(driver.partition(".")[0])


def _text(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
