"""Part "machine": the driver, CUDA, NCCL, the compiler, memory and the versions of packages."""

import importlib.metadata
import platform
import re
from collections import defaultdict
from collections.abc import Iterator

import psutil
import torch

from ddpm_bench.cli import PROJECT
from ddpm_bench.gpu_check.part import Check, Setting
from ddpm_bench.machine.compute_device import FIRST_DRIVER, gpu_is_usable
from ddpm_bench.machine.gpu_listing import driver_version
from ddpm_bench.machine.host import processor, usable_cores
from ddpm_bench.text import size_text
from ddpm_bench.throughput.cell_environment import git_commit
from ddpm_bench.training.accelerator import compiler_is_there

PACKAGES = (
    *("torch", "torchvision", "triton", "accelerate", "denoising-diffusion-pytorch", "diffusers"),
    *("torch-fidelity", "pytorch-fid", "transformers", "numpy", "scipy"),
)
NEEDED_MEMORY = 8 * 10**9  # bytes that the parts take together at most, with room
SHARE_OF_OTHERS = 0.05  # of a GPU's memory, from which on other programs count as using it


def check_machine(setting: Setting) -> Iterator[Check]:
    """Yield what this machine has, and what is missing or too old."""
    yield _host()
    yield from _packages()
    yield _compiler()
    if not setting.gpu:
        return
    yield _driver()
    gpu_is_usable()  # raises UserError with the reason
    yield _gpu()
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
        remedy = "make env installs all of the lock; or pip install " + " ".join(missing)
        yield Check("packages that are missing", "fail", ", ".join(missing), remedy)


def _compiler() -> Check:
    if compiler_is_there():
        return Check("compiler", "pass", "torch.compile finds a C compiler and Python.h")
    remedy = (
        "install gcc and Python's headers (Debian, Ubuntu: gcc python3-dev), or load the site's "
        "module; without them training is not compiled, and slower"
    )
    return Check("compiler", "fail", "no C compiler, or no Python.h", remedy)


def _driver() -> Check:
    driver, cuda = driver_version(), torch.version.cuda
    found = f"{driver or 'unknown'}, torch {torch.__version__} built for CUDA {cuda}"
    numbers = {"driver": driver, "cuda": cuda}
    needed = FIRST_DRIVER.get((cuda or "").partition(".")[0])
    if driver is None or needed is None:
        return Check("driver", "measured", found, numbers=numbers)
    if int(driver.partition(".")[0]) < needed:
        remedy = f"update the driver to {needed} or newer, or install a torch for an older CUDA"
        return Check("driver", "fail", found, f"{remedy} (docs/environments.md)", numbers)
    return Check("driver", "pass", found, numbers=numbers)


def _gpu() -> Check:
    """Check that torch holds code for this GPU."""
    name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    built_for = torch.cuda.get_arch_list()
    found = f"{name}, compute capability {capability[0]}.{capability[1]}"
    numbers = {"gpu": name, "compute_capability": f"{capability[0]}.{capability[1]}"}
    if has_code_for(capability, built_for):
        return Check("GPU", "pass", found, numbers=numbers)
    remedy = "install a torch that is built for it (docs/environments.md: CUDA 12)"
    return Check("GPU", "fail", f"{found}; torch is built for {built_for}", remedy, numbers)


def has_code_for(capability: tuple[int, int], built_for: list[str]) -> bool:
    """Return True if one of the architectures that torch is built for runs on a GPU.

    Machine code (sm_80) runs on its own major version from its minor version on, intermediate code
    (compute_90) on all later ones; code for sm_90a and the like on its own alone. CUDA C++
    Programming Guide, "Compute Capability". ROCm's names are taken to fit.
    """
    for name in built_for:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name)
        if match is None:
            return True
        kind, code = match[1], (int(match[2]), int(match[3]))
        same = code[0] == capability[0] and code[1] <= capability[1]
        if match[4] and code == capability:
            return True
        if not match[4] and (same or (kind == "compute" and code <= capability)):
            return True
    return False


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
    left, right = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
    expected = left @ right
    error = ((left.cuda() @ right.cuda()).cpu() - expected).abs().max().item()
    outcome = "pass" if error < 1e-3 else "fail"
    remedy = "" if outcome == "pass" else "run the vendor's diagnostics (dcgmi diag) on this GPU"
    return Check("matrix product", outcome, f"differs by {error:.1e} from the CPU's", remedy)


def _nccl() -> Check:
    if not torch.distributed.is_nccl_available():
        remedy = "install a torch with NCCL; without it training runs on one GPU only"
        return Check("NCCL", "fail", "torch is built without it", remedy)
    version = ".".join(map(str, torch.cuda.nccl.version()))
    cudnn = torch.backends.cudnn.version()
    found = f"{version}, cuDNN {cudnn}"
    return Check("NCCL", "pass", found, numbers={"nccl": version, "cudnn": cudnn})
