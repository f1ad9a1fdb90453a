"""Where and with what a cell is measured, found out without torch: cells that are known not to run
cost nothing."""

import importlib.metadata
import importlib.util
import platform
import runpy
import subprocess
from contextlib import suppress
from pathlib import Path

from ddpm_bench.cli import PROJECT
from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.machine.host import Use, processor
from ddpm_bench.records.cell_record import Environment

PACKAGES = ("torchvision", "transformers", "diffusers", "denoising_diffusion_pytorch")  # of models
ANSWER_SECONDS = 10.0


def environment(stage: CellStage, use: Use) -> Environment:
    """What there is for a cell; use: begun with the GPUs that its processes on this node have."""
    cell, cpu = stage.cell, processor()
    torch, cuda = torch_version()
    return Environment(
        started=use.started,
        node=use.node,
        device=gpu_name(use.gpus[0]) if use.gpus else cpu,
        devices=len(use.gpus) * cell.nodes,
        processor=cpu,
        cpus=stage.measuring.cpus,
        backend=backend(stage, bool(use.gpus)),
        python=platform.python_version(),
        torch=torch,
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        cuda=cuda if use.gpus else None,
        nccl=nccl_version() if use.gpus else None,
        git_commit=git_commit(PROJECT),
        slurm_job=use.slurm_job,
    )


def as_on_cpus(stage: CellStage, found: Environment) -> Environment:
    """The same where torch had no use for the GPUs, because it was built without CUDA."""
    without = {"device": found.processor, "devices": 0, "cuda": None, "nccl": None}
    return found.model_copy(update={**without, "backend": backend(stage, False)})


def backend(stage: CellStage, on_gpus: bool) -> str:
    """What processes exchange tensors by; `single` does without."""
    if stage.cell.strategy == "single":
        return "none"
    return "nccl" if on_gpus else "gloo"


def torch_version() -> tuple[str, str | None]:
    """The versions of torch and of the CUDA that it was built with, None without: as its own
    version.py has them, which is read alone."""
    found = importlib.util.find_spec("torch")
    file = Path(found.origin).with_name("version.py") if found and found.origin else None
    if file is None or not file.exists():
        return importlib.metadata.version("torch"), None
    names = runpy.run_path(str(file))
    return str(names["__version__"]), names.get("cuda")


def nccl_version() -> str | None:
    """Of the NCCL that is installed with torch; None where it has come in another way."""
    for package in ("nvidia-nccl-cu13", "nvidia-nccl-cu12"):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return None


def gpu_name(device: str) -> str:
    """What the driver calls a GPU, given its index or UUID."""
    query = ("nvidia-smi", f"--id={device}", "--query-gpu=name", "--format=csv,noheader")
    return _said(*query) or f"GPU {device}"


def git_commit(project: Path) -> str | None:
    """The commit of a project, with "-dirty" where tracked files differ from it; None where its
    folder is no git repository of its own."""
    if not (project / ".git").exists():
        return None
    describe = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return _said("git", "--no-optional-locks", "-C", str(project), *describe) or None


def _said(*command: str) -> str:
    """What a command prints; nothing where it is missing, fails or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
