"""Choice of the trainer for each strategy of the throughput benchmark.

Parts of torch that only one strategy needs are imported with it, which saves the other cells a
second.
"""

from dataclasses import replace

import torch
import torch.distributed as dist

from ddpm_bench.config.benchmark import PIPELINES, CellStage
from ddpm_bench.planning.benchmark_cells import UnsupportedError
from ddpm_bench.throughput.strategies.trainers import (
    StrategyTrainer,
    WholeModelTrainer,
    placed,
    stays_as_built,
)
from ddpm_bench.throughput.workloads.workload import Workload


def build_trainer(
    stage: CellStage, workload: Workload, device: torch.device, micro_batches: int = 1
) -> StrategyTrainer:
    """Return the trainer of this process; all strategies but `single` need the default process
    group.

    workload: with the global batch, on the CPU; its model is trained in place. micro_batches:
    pieces of the batch over whose gradients `single` averages; a model with BatchNorm then learns
    as in so many processes. Raises UnsupportedError, with the reason, where the model or the
    backend does not allow the strategy.
    """
    strategy = stage.cell.strategy
    if stays_as_built(stage, device):
        workload = replace(workload, inputs=tuple(item.contiguous() for item in workload.inputs))
    if strategy in PIPELINES:
        from ddpm_bench.throughput.strategies.pipeline_trainer import PipelineTrainer

        return PipelineTrainer(stage, workload, device)
    if strategy == "single":
        if stage.cell.world > 1:
            raise UnsupportedError("single is one process: set processes and nodes to 1")
        model = placed(stage, workload.model, device)
        return WholeModelTrainer(stage, model, _cut(workload, micro_batches), device)
    assert dist.get_world_size() == stage.cell.world
    share = _cut(workload, stage.cell.world)[dist.get_rank()]
    if strategy == "fsdp":
        from ddpm_bench.throughput.strategies.fully_sharded import sharded

        model = sharded(stage, workload, device)
        return WholeModelTrainer(stage, model, [share], device, parted=True)
    from ddpm_bench.throughput.strategies.replicated import replicated

    model = replicated(stage, workload.model, device)
    return WholeModelTrainer(stage, model, [share], device)


def _cut(workload: Workload, count: int) -> list[Workload]:
    """Cut the batch into `count` equal pieces."""
    size, rest = divmod(len(workload.targets), count)
    assert rest == 0, "a mean of means equals the mean only over pieces of equal size"

    return [workload.share(piece * size, (piece + 1) * size) for piece in range(count)]
