"""Trainers of pipelines: each process holds one of the consecutive stages of a model.

GPipe (Huang et al. 2019) runs the forward passes of all micro-batches, then the backward ones; 1F1B
(Narayanan et al. 2019) has them take turns. Both are torch.distributed.pipelining's.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.planning.benchmark_cells import UnsupportedError
from ddpm_bench.throughput.strategies.pipeline_stages import pipeline_stages
from ddpm_bench.throughput.strategies.trainers import Autocast, StrategyTrainer, placed
from ddpm_bench.throughput.unsupported import of_pipeline
from ddpm_bench.throughput.workloads.workload import Workload

SCHEDULES = {"pipeline-gpipe": ScheduleGPipe, "pipeline-1f1b": Schedule1F1B}


class PipelineTrainer(StrategyTrainer):
    """One of the consecutive stages of a model, and with the last its loss (torch's
    distributed.pipelining): the first is given the global batch, cut into micro-batches."""

    def __init__(self, stage: CellStage, workload: Workload, device: torch.device) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        reason = of_pipeline(stage)
        if reason is not None:
            raise UnsupportedError(reason)
        part = placed(stage, pipeline_stages(workload, world)[rank], device)
        super().__init__(stage, part.parameters(), device, parted=True)
        self._loss = workload.loss
        self._inputs = tuple(item.to(device) for item in workload.inputs) if rank == 0 else ()
        self._targets = workload.targets.to(device) if rank == world - 1 else None
        self._schedule = SCHEDULES[stage.cell.strategy](
            PipelineStage(_Autocasting(part, self._autocast), rank, world, device),
            stage.measuring.micro_batches,
            loss_fn=self._scaled_loss,
        )

    def _scaled_loss(self, output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            return self._scaler.scaled(self._loss(output, targets))

    def step(self) -> torch.Tensor | None:
        self._optimizer.zero_grad(set_to_none=True)
        losses: list[torch.Tensor] = []  # of the micro-batches, scaled
        last = {} if self._targets is None else {"target": self._targets, "losses": losses}
        self._schedule.step(*self._inputs, **last, return_outputs=False)
        scale = self._scaler.scale
        self._scaler.step(self._optimizer)
        return torch.stack(losses).detach().mean() / scale if losses else None


class _Autocasting(nn.Module):
    """A stage in its precision: schedules call forward and backward passes in turns, and autocast
    is for the forward ones only."""

    def __init__(self, stage: nn.Module, autocast: Autocast) -> None:
        super().__init__()
        self.stage = stage
        self._autocast = autocast

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        with self._autocast():
            return self.stage(*inputs)
