"""The hardware and the versions with which a cell is measured.

All of it is found without importing torch, so that a cell that is known not to run costs nothing.
"""

import importlib.metadata
import platform
import subprocess
from contextlib import suppress
from pathlib import Path

from ddpm_bench.cli import PROJECT
from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.machine.host import Use, processor
from ddpm_bench.machine.torch_build import torch_build
from ddpm_bench.records.cell_record import Environment

# Packages that models come from; their versions are recorded.
PACKAGES = ("torchvision", "transformers", "diffusers", "denoising_diffusion_pytorch")
ANSWER_SECONDS = 10.0  # time limit of each external command


def environment(stage: CellStage, use: Use) -> Environment:
    """Return the hardware and the versions that a cell is about to be measured with.

    use: begun with the GPUs that the cell's processes on this node have.
    """
    cell, cpu = stage.cell, processor()
    torch = torch_build()
    return Environment(
        started=use.started,
        node=use.node,
        device=gpu_name(use.gpus[0]) if use.gpus else cpu,
        devices=len(use.gpus) * cell.nodes,
        processor=cpu,
        cpus=stage.measuring.cpus,
        backend=backend(stage, bool(use.gpus)),
        python=platform.python_version(),
        torch=torch.version,
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        cuda=torch.cuda if use.gpus else None,
        nccl=nccl_version() if use.gpus else None,
        git_commit=git_commit(PROJECT),
        slurm_job=use.slurm_job,
    )


def on_cpus(stage: CellStage, found: Environment) -> Environment:
    """Return an environment without its GPUs, for a torch that was built without CUDA."""
    without = {"device": found.processor, "devices": 0, "cuda": None, "nccl": None}
    return found.model_copy(update={**without, "backend": backend(stage, False)})


def backend(stage: CellStage, on_gpus: bool) -> str:
    """Return the library through which processes exchange tensors; "none" for `single`."""
    if stage.cell.strategy == "single":
        return "none"
    return "nccl" if on_gpus else "gloo"


def nccl_version() -> str | None:
    """Return the version of the NCCL wheel that torch uses, or None if NCCL was installed
    differently."""
    for package in ("nvidia-nccl-cu13", "nvidia-nccl-cu12"):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return None


def gpu_name(device: str) -> str:
    """Return the driver's name of a GPU, given its index or UUID; "GPU <device>" if unknown."""
    query = ("nvidia-smi", f"--id={device}", "--query-gpu=name", "--format=csv,noheader")
    return _output(*query) or f"GPU {device}"


def git_commit(project: Path) -> str | None:
    """Return the commit of a project, with "-dirty" where tracked files differ from it.

    None where its folder is no git repository of its own.
    """
    if not (project / ".git").exists():
        return None
    describe = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return _output("git", "--no-optional-locks", "-C", str(project), *describe) or None


def _output(*command: str) -> str:
    """Return the output of a command; "" where it is missing, fails or takes too long."""

    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
