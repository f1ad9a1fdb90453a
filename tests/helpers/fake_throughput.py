"""Records of cells as their programs leave them, from a small model of what training costs."""

import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ddpm_bench.config.benchmark import Benchmark, Cell
from ddpm_bench.files import write_text
from ddpm_bench.planning.benchmark_cells import cell_name, cells
from ddpm_bench.records.cell_record import CellRecord, Environment, Measurement, Repetition

# Millions of weights, GFLOPs of a sample's step, megabytes of its activations, what is counted.
NETWORKS = {
    "resnet18": (11.2, 3.3, 9.0, "image"),
    "resnet50": (23.5, 7.8, 31.0, "image"),
    "unet": (35.7, 36.0, 70.0, "image"),
    "albert": (11.7, 65.0, 55.0, "sequence"),
}
SPEED_UP = {"fp32": 1.0, "bf16": 2.6, "fp16": 2.4}
SENT = {"single": 0.0, "ddp-fp16": 0.5, "ddp-bf16": 0.5, "powersgd": 0.01, "fsdp": 1.5}
GPU = Environment(
    started="2026-01-01T00:00:00+00:00", node="node1", device="NVIDIA H200", devices=1,
    processor="a processor", cpus=4, backend="nccl", python="3.13.5", torch="2.14.1", cuda="13.0",
    torchvision="0.29.1", transformers="5.0", diffusers="0.42.1", nccl="2.30.7",
    denoising_diffusion_pytorch="2.3.4", git_commit="0" * 40, slurm_job="17",
)  # fmt: skip
CPU = GPU.model_copy(
    update={
        "device": "AMD EPYC 7B13",
        "devices": 0,
        "cpus": 1,
        "backend": "gloo",
        "cuda": None,
        "nccl": None,
    }
)


def benchmark(models: Iterable[str], **keys: Any) -> Benchmark:
    networks = {name: {"name": name if name != "unet" else "resnet18"} for name in models}
    return Benchmark.model_validate({"models": networks, **keys})


def write_grid(
    folder: Path, grid: Benchmark, environment: Environment = GPU, limit_mb: float = math.inf
) -> list[Path]:
    """The files of all cells of a grid."""
    return write_records(folder, [record(cell, environment, limit_mb) for cell in cells(grid)])


def write_records(folder: Path, records: Iterable[CellRecord]) -> list[Path]:
    paths = []
    for one in records:
        paths.append(folder / f"{cell_name(one.cell)}.json")
        write_text(paths[-1], one.model_dump_json())
    return paths


def record(cell: Cell, environment: Environment = GPU, limit_mb: float = math.inf) -> CellRecord:
    """Return a cell's record; a cell that needs more than limit_mb is out of memory."""
    environment = environment.model_copy(
        update={
            "devices": cell.world if environment.cuda else 0,
            "backend": "none" if cell.strategy == "single" else environment.backend,
        }
    )
    why = unsupported(cell, environment)
    if why:
        return CellRecord(
            cell=cell, status="unsupported", reason=why, environment=environment
        )  # fmt: skip
    if memory_mb(cell) > limit_mb:
        reason = f"a process took more than its {limit_mb:.0f} MB"
        return CellRecord(
            cell=cell, status="out of memory", reason=reason, environment=environment
        )  # fmt: skip
    return CellRecord(
        cell=cell, status="ok", environment=environment, measurement=measurement(cell, environment)
    )


def unsupported(cell: Cell, environment: Environment) -> str | None:
    if cell.strategy == "single" and cell.world > 1:
        return "single is one process"
    if cell.strategy == "ddp-bf16" and environment.cuda is None:
        return "torch's hook that compresses to bf16 needs NCCL"
    if cell.strategy.startswith("pipeline") and cell.model == "albert":
        return "a pipeline of albert: all its layers are one"
    return None


def memory_mb(cell: Cell) -> float:
    weights, _, activations, _ = NETWORKS[cell.model]
    of_weights = 16 * weights / (cell.world if cell.strategy == "fsdp" else 1)
    smaller = 1.0 if cell.precision == "fp32" else 0.55
    if cell.strategy.startswith("pipeline"):
        smaller, of_weights = 0.8 * smaller, of_weights / cell.world
    return 400 + of_weights + smaller * activations * cell.batch_size


def measurement(cell: Cell, environment: Environment) -> Measurement:
    """Steps of compute and of sending, with a scatter of a few percent."""
    weights, gflops, _, sample = NETWORKS[cell.model]
    on_gpu = environment.cuda is not None
    gigaflops = (20_000.0 if on_gpu else 60.0) * (SPEED_UP[cell.precision] if on_gpu else 1)
    compute = 0.008 * on_gpu + gflops * cell.batch_size / gigaflops
    ring = 2 * (cell.world - 1) / cell.world
    if cell.strategy.startswith("pipeline"):
        sent = int(30e3 * cell.batch_size * (cell.world > 1))
        compute *= (1 + 0.25 * (cell.world - 1)) / 1.0
    else:
        sent = int(4e6 * weights * ring * SENT.get(cell.strategy, 1.0))
    bandwidth = (2e10 if cell.nodes == 1 else 4e9) if on_gpu else 1e9
    sending = sent / bandwidth + 2e-4 * math.log2(cell.world)
    scatter = random.Random(cell_name(cell))
    return Measurement(
        repetitions=tuple(
            repetition(cell, (compute + sending) * scatter.uniform(0.98, 1.03)) for _ in range(3)
        ),
        sample=sample,
        memory="GPU, allocated" if on_gpu else "process, resident",
        sent_bytes_per_step=sent,
        communication_share=min(1.0, sending / (compute + sending)),
        parameters=int(weights * 1e6),
        parameter_bytes=(int(4e6 * weights),) * cell.world,
        losses=(2.3, 2.2),
    )


def repetition(cell: Cell, seconds: float) -> Repetition:
    return Repetition(
        steps=20, seconds=20 * seconds, step_ms_median=1e3 * seconds, step_ms_q1=970 * seconds,
        step_ms_q3=1060 * seconds, samples_per_second=cell.global_batch / seconds,
        peak_memory_mb=memory_mb(cell),
    )  # fmt: skip
