"""Pipeline training: each process holds one of the consecutive stages of a model.

GPipe (Huang et al. 2019) runs the forward passes of all micro-batches, then the backward passes;
1F1B alternates them, and updates weights when all have ended (PipeDream-Flush, Narayanan et al.
2021). Both schedules are torch.distributed.pipelining's.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.planning.benchmark_cells import UnsupportedError
from ddpm_bench.throughput.strategies.pipeline_stages import pipeline_stages
from ddpm_bench.throughput.strategies.trainers import Autocast, StrategyTrainer, placed
from ddpm_bench.throughput.unsupported import pipeline_reason
from ddpm_bench.throughput.workloads.workload import Workload

SCHEDULES = {"pipeline-gpipe": ScheduleGPipe, "pipeline-1f1b": Schedule1F1B}


class PipelineTrainer(StrategyTrainer):
    """Trainer of one pipeline stage (torch.distributed.pipelining).

    The first stage takes the global batch, cut into micro-batches; the last computes the loss.
    """

    def __init__(self, stage: CellStage, workload: Workload, device: torch.device) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        reason = pipeline_reason(stage)
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
        """Return the loss of a micro-batch, a scalar, times the loss scale."""
        with self._autocast():
            return self._scaler.scaled(self._loss(output, targets))

    def step(self) -> torch.Tensor | None:
        self._optimizer.zero_grad(set_to_none=True)
        losses: list[torch.Tensor] = []  # scaled, one for each micro-batch
        last = {} if self._targets is None else {"target": self._targets, "losses": losses}
        self._schedule.step(*self._inputs, **last, return_outputs=False)
        scale = self._scaler.scale
        self._scaler.step(self._optimizer)
        return torch.stack(losses).detach().mean() / scale if losses else None


class _Autocasting(nn.Module):
    """Pipeline stage whose forward pass, and only that, runs under autocast."""

    def __init__(self, stage: nn.Module, autocast: Autocast) -> None:
        super().__init__()
        self.stage = stage
        self._autocast = autocast

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        with self._autocast():
            return self.stage(*inputs)
