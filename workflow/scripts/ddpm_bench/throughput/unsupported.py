"""Cells that cannot be measured, as far as it is known before torch is imported.

Limits of a model itself (where it can be cut, for one) are found when it is built, and raise an
UnsupportedError there.
"""

from dataclasses import dataclass

from ddpm_bench.config.benchmark import PIPELINES, CellStage
from ddpm_bench.config.training import divisors


@dataclass(frozen=True)
class Machine:
    """Resources of this machine; in a SLURM job, a cell can use other machines too."""

    gpus: int
    cores: int  # that the job may use
    in_slurm_job: bool


def known_reason(stage: CellStage, machine: Machine) -> str | None:
    """Return why a cell cannot be measured here, and the remedy; None if no reason is known."""
    return (
        _strategy_reason(stage, machine)
        or pipeline_reason(stage)
        or _machine_reason(stage, machine)
    )


def _strategy_reason(stage: CellStage, machine: Machine) -> str | None:
    """Return why a strategy cannot run with these processes or on this machine; None otherwise."""
    cell = stage.cell
    if cell.strategy == "single" and cell.world > 1:
        return f"single is one process and not {cell.world}: ddp shares a batch among several"
    if cell.strategy == "ddp-bf16" and not machine.gpus:
        return (
            "torch has its bf16 hook for NCCL only, which needs GPUs, and this machine offers "
            "none: ddp-fp16 runs on CPUs too"
        )
    return None


def pipeline_reason(stage: CellStage) -> str | None:
    """Return why a pipeline cannot run with its network or its micro-batches; None otherwise."""
    cell, pieces = stage.cell, stage.measuring.micro_batches
    if cell.strategy not in PIPELINES:
        return None
    if stage.network.name == "albert":
        return (
            "albert is one layer, used many times, and cannot be cut into the stages of a "
            "pipeline: fsdp shares its weights among processes"
        )
    if cell.global_batch % pieces:
        return (
            f"the {cell.global_batch} samples of a step cannot be cut into micro_batches = "
            f"{pieces}; numbers that divide them: {divisors(cell.global_batch)}"
        )
    if cell.strategy == "pipeline-1f1b" and pieces < cell.world:
        return (
            f"pipeline-1f1b needs a micro-batch for each of its {cell.world} stages: raise "
            f"micro_batches = {pieces} to {cell.world} or more, or take pipeline-gpipe"
        )
    return None


def _machine_reason(stage: CellStage, machine: Machine) -> str | None:
    """Return why this machine is too small for a cell; None otherwise."""
    cell, cpus = stage.cell, stage.measuring.cpus
    if cell.nodes > 1 and not machine.in_slurm_job:
        return (
            f"{cell.nodes} nodes are started inside SLURM jobs only: run "
            "`snakemake benchmark --profile profiles/slurm`"
        )
    if machine.gpus and cell.processes > machine.gpus:
        return (
            f"{cell.processes} processes need a GPU each and this machine offers {machine.gpus}: "
            "lower processes, or widen CUDA_VISIBLE_DEVICES"
        )
    # SLURM checks the cores of a job on several nodes.

    if not machine.gpus and cell.nodes == 1 and cell.processes * cpus > machine.cores:
        return (
            f"processes = {cell.processes} x cpus = {cpus} need {cell.processes * cpus} CPU cores "
            f"and {machine.cores} may be used here: lower either, or give the run more (--cores)"
        )
    return None
