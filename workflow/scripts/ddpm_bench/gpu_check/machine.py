"""Part "machine": the driver, CUDA, NCCL, the compiler, memory and the versions of packages."""

import importlib.metadata
import platform
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator

import psutil
import torch

from ddpm_bench.cli import PROJECT
from ddpm_bench.gpu_check.part import Check, Setting
from ddpm_bench.machine.compute_device import gpu_is_usable, round_to_tf32
from ddpm_bench.machine.cuda_limits import driver_is_old, remedy, without_code
from ddpm_bench.machine.gpu_listing import driver_version
from ddpm_bench.machine.host import processor, usable_cores
from ddpm_bench.machine.torch_build import torch_build
from ddpm_bench.text import size_text
from ddpm_bench.throughput.cell_environment import git_commit
from ddpm_bench.training.accelerator import compiler_is_there

PACKAGES = (
    *("torch", "torchvision", "triton", "accelerate", "denoising-diffusion-pytorch", "diffusers"),
    *("torch-fidelity", "pytorch-fid", "transformers", "numpy", "scipy"),
)
NEEDED_MEMORY = 12 * 10**9  # bytes that the parts take together at most, with room
NEEDED_DISK = 10**10  # bytes: weights, and states of two trainings at once, for a moment twice
NEEDED_DISK_OF_STAND_INS = 10**9
SHARE_OF_OTHERS = 0.05  # of a GPU's memory, from which on other programs count as using it


def check_machine(setting: Setting) -> Iterator[Check]:
    """Yield what this machine has, and what is missing or too old."""
    yield _host()
    yield from _packages()
    yield _compiler()
    yield disk(shutil.disk_usage(setting.folder).free, setting)
    if not setting.gpu:
        return
    yield _driver()
    if torch.cuda.is_available():
        yield _gpu()
    gpu_is_usable()  # raises UserError with the reason
    yield _memory()
    yield _product()
    yield _nccl()


def _host() -> Check:
    cores, memory = usable_cores(10**6), psutil.virtual_memory().total
    found = (
        f"{cores} cores of {processor()}, {size_text(memory)}, Python {platform.python_version()}"
    )
    numbers = {
        "processor": processor(),
        "cores": cores,
        "memory_mb": memory // 10**6,
        "python": platform.python_version(),
        "commit": git_commit(PROJECT),
    }
    return Check("host", "measured", found, numbers=numbers)


def _packages() -> Iterator[Check]:
    """Yield the versions of packages, and those that are missing."""
    lock = (PROJECT / "envs" / "requirements.lock").read_text()
    locked = defaultdict(set)  # several where they depend on Python's version
    for name, version in re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock, re.MULTILINE):
        locked[name].add(version)
    versions, missing, other = {}, [], []
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if versions[name].partition("+")[0] not in locked[name]:
            other.append(f"{name} {versions[name]} (lock: {' or '.join(sorted(locked[name]))})")
    found = f"not those of the lock: {', '.join(other)}" if other else "those of the lock"
    numbers = {name.replace("-", "_"): version for name, version in versions.items()}
    yield Check("packages", "measured", found, numbers=numbers)
    if missing:
        todo = "make env installs all of the lock; or pip install " + " ".join(missing)
        yield Check("packages that are missing", "fail", ", ".join(missing), todo)


def _compiler() -> Check:
    if compiler_is_there():
        return Check("compiler", "pass", "torch.compile finds a C compiler and Python.h")
    todo = (
        "install gcc and Python's headers (Debian, Ubuntu: gcc python3-dev), or load the site's "
        "module; without them training is not compiled, and slower"
    )
    return Check("compiler", "fail", "no C compiler, or no Python.h", todo)


def disk(free: int, setting: Setting) -> Check:
    """Check that there is room for the files of the parts. free: bytes of the check's folder."""
    needed = NEEDED_DISK if setting.gpu else NEEDED_DISK_OF_STAND_INS
    found = f"{size_text(free)} free in {setting.folder.parent}"
    numbers = {"disk_free_mb": free // 10**6}
    if free >= needed:
        return Check("disk", "pass", found, numbers=numbers)
    todo = "remove what is not needed, or name another folder: TMPDIR=FOLDER make gpu-check"
    found = f"{found}; the parts need up to {size_text(needed)}"
    return Check("disk", "fail", found, todo, numbers)


def _driver() -> Check:
    driver, build = driver_version(), torch_build()
    found = f"{driver or 'unknown'}, torch {build.version} built for CUDA {build.cuda}"
    numbers = {"driver": driver, "cuda": build.cuda}
    if driver_is_old(build, driver):
        return Check("driver", "fail", found, remedy(build, driver, []), numbers)
    return Check("driver", "measured" if driver is None else "pass", found, numbers=numbers)


def _gpu() -> Check:
    """Check that torch holds code for this GPU."""
    name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    version = ".".join(map(str, capability))
    found = f"{name}, compute capability {version}"
    numbers = {"gpu": name, "compute_capability": version}
    built_for = torch.cuda.get_arch_list()
    if torch.version.cuda is None or not without_code(capability, built_for):
        return Check("GPU", "pass", found, numbers=numbers)
    found = f"{found}; torch has code for {', '.join(built_for)} only"
    todo = remedy(torch_build(), driver_version(), [capability])
    return Check("GPU", "fail", found, todo, numbers)


def _memory() -> Check:
    """Check that the GPU's memory is free."""
    free, total = torch.cuda.mem_get_info()
    used = total - free
    found = f"{size_text(free)} free of {size_text(total)}"
    numbers = {"gpu_memory_mb": total // 10**6, "gpu_memory_free_mb": free // 10**6}
    others = "end the programs that nvidia-smi lists, or choose another GPU: CUDA_VISIBLE_DEVICES=1"
    if free < min(NEEDED_MEMORY, total / 2):
        found = f"{found}; the parts need up to {size_text(NEEDED_MEMORY)}"
        return Check("GPU's memory", "fail", found, others, numbers)
    if used > SHARE_OF_OTHERS * total:
        return Check(
            "GPU's memory",
            "fail",
            f"{found}: other programs use it, speeds are wrong",
            others,
            numbers,
        )
    return Check("GPU's memory", "pass", found, numbers=numbers)


def _product() -> Check:
    """Check that the GPU computes: a matrix product against the CPU's."""
    round_to_tf32(False)  # which containers allow: TORCH_ALLOW_TF32_CUBLAS_OVERRIDE
    left, right = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
    expected = left @ right
    error = ((left.cuda() @ right.cuda()).cpu() - expected).abs().max().item()
    outcome = "pass" if error < 1e-3 else "fail"
    todo = "" if outcome == "pass" else "run the vendor's diagnostics (dcgmi diag) on this GPU"
    return Check("matrix product", outcome, f"differs by {error:.1e} from the CPU's", todo)


def _nccl() -> Check:
    if not torch.distributed.is_nccl_available():
        todo = "install a torch with NCCL; without it training runs on one GPU only"
        return Check("NCCL", "fail", "torch is built without it", todo)
    version = ".".join(map(str, torch.cuda.nccl.version()))
    cudnn = torch.backends.cudnn.version()
    found = f"{version}, cuDNN {cudnn}"
    return Check("NCCL", "pass", found, numbers={"nccl": version, "cudnn": cudnn})
