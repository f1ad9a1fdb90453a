"""One optimiser step in each strategy of the throughput benchmark.

A trainer takes this process's share of a global batch to its device once, and trains on it at every
step: loading data is no part of what is measured.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from .cells import UnsupportedError
from .config.benchmark import (
    PIPELINES,
    STEPS_BEFORE_COMPRESSION,
    CellStage,
    Measuring,
    OwnModel,
    Resnet,
)
from .config.training import divisors
from .loss_scaling import LossScaler, local
from .model import in_channels_last
from .pipeline_stages import pipeline_stages
from .workloads import Workload, compute_on

LOW_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}
SGD_MOMENTUM = 0.9
SCHEDULES = {"pipeline-gpipe": ScheduleGPipe, "pipeline-1f1b": Schedule1F1B}
# Of PowerSGD's orthogonalisation: a gradient that is zero everywhere stays zero and is no NaN.
POWERSGD_EPSILON = 1e-8
# fully_shard refuses weights that lie otherwise; powersgd takes gradients for matrices as they lie.
CONTIGUOUS = ("fsdp", "powersgd")
ONE_BUCKET_MB = 2**20  # of DDP: more than any model has


class Trainer(ABC):
    """Trains on one batch; `parameter_bytes` is what this process holds of the weights."""

    def __init__(
        self,
        stage: CellStage,
        parameters: Iterable[nn.Parameter],
        device: torch.device,
        parted: bool = False,
    ) -> None:
        """parted: each process holds a part of the model only."""
        held = list(parameters)
        sharded = any(local(item) is not item for item in held)
        self._optimizer = build_optimizer(stage.measuring, held, fused_sgd=not sharded)
        self._scaler = LossScaler(device, stage.cell.precision == "fp16", agreeing=parted)
        self._autocast = Autocast(device, stage.cell.precision)
        parts = [local(item) for item in held]
        self.parameter_bytes = sum(part.numel() * part.element_size() for part in parts)

    @abstractmethod
    def step(self) -> torch.Tensor | None:
        """One optimiser step. Returns the loss before it, a scalar on the device: the mean over
        the samples of this process, or None where a pipeline's process sees no loss."""


class Autocast:
    """Makes the contexts in which a model and its loss are computed: torch.autocast."""

    def __init__(self, device: torch.device, precision: str) -> None:
        self._device = device.type
        self._dtype = LOW_PRECISION.get(precision)

    def __call__(self) -> torch.autocast:
        return torch.autocast(self._device, self._dtype, enabled=self._dtype is not None)


def build_optimizer(
    measuring: Measuring, parameters: list[nn.Parameter], fused_sgd: bool = True
) -> torch.optim.Optimizer:
    """Adam or SGD with momentum, in one kernel for all weights where torch has one."""
    if not parameters:
        raise UnsupportedError("a process would hold no weights: use fewer processes")
    if measuring.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=measuring.learning_rate, fused=True)
    return torch.optim.SGD(
        parameters, lr=measuring.learning_rate, momentum=SGD_MOMENTUM, fused=fused_sgd
    )


class WholeModelTrainer(Trainer):
    """A loop as it is written by hand; `model` may be one that DDP wraps or fully_shard cut.

    parts: what the gradient of a step is the mean of, computed one after the other.
    """

    def __init__(
        self,
        stage: CellStage,
        model: nn.Module,
        parts: list[Workload],
        device: torch.device,
        parted: bool = False,
    ) -> None:
        super().__init__(stage, model.parameters(), device, parted)
        self._model = model
        self._inputs = [tuple(_copied(part.inputs, device)) for part in parts]
        self._targets = [*_copied((part.targets for part in parts), device)]
        self._loss = parts[0].loss

    def step(self) -> torch.Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        losses = []
        for inputs, targets in zip(self._inputs, self._targets, strict=True):
            with self._autocast():
                loss = self._loss(self._model(*inputs), targets) / len(self._inputs)
            self._scaler.scaled(loss).backward()
            losses.append(loss.detach())
        self._scaler.step(self._optimizer)
        return torch.stack(losses).sum()


class PipelineTrainer(Trainer):
    """One of the consecutive stages of a model, and with the last its loss (torch's
    distributed.pipelining): the first is given the global batch, cut into micro-batches."""

    def __init__(self, stage: CellStage, workload: Workload, device: torch.device) -> None:
        rank, world = dist.get_rank(), dist.get_world_size()
        _check_micro_batches(stage)
        part = _placed(stage, pipeline_stages(workload, world)[rank], device)
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


def build_trainer(
    stage: CellStage, workload: Workload, device: torch.device, micro_batches: int = 1
) -> Trainer:
    """The trainer of this process; all but `single` need the default process group.

    workload: with the global batch, on the CPU; its model is taken over. micro_batches: pieces of
    the batch whose mean gradient `single` takes; a model with BatchNorm learns as in so many
    processes. Raises UnsupportedError, with the reason, where a strategy cannot be had.
    """
    strategy = stage.cell.strategy
    if strategy in PIPELINES:
        return PipelineTrainer(stage, workload, device)
    if _as_built(stage, device):
        workload = replace(workload, inputs=tuple(item.contiguous() for item in workload.inputs))
    if strategy == "single":
        if stage.cell.world > 1:
            raise UnsupportedError("single is one process: set processes and nodes to 1")
        model = _placed(stage, workload.model, device)
        return WholeModelTrainer(stage, model, _cut(workload, micro_batches), device)
    assert dist.get_world_size() == stage.cell.world
    share = _cut(workload, stage.cell.world)[dist.get_rank()]
    if strategy == "fsdp":
        model = _sharded(stage, workload, device)
        return WholeModelTrainer(stage, model, [share], device, parted=True)
    return WholeModelTrainer(stage, _replicated(stage, workload.model, device), [share], device)


def _placed(stage: CellStage, model: nn.Module, device: torch.device) -> nn.Module:
    """On the device, and laid out as a training lays it out; models of users stay as they are."""
    if stage.cell.strategy in CONTIGUOUS:
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()
    elif not isinstance(stage.network, OwnModel) and not _as_built(stage, device):
        in_channels_last(model)
    return compute_on(device, model)


def _copied(tensors: Iterable[torch.Tensor], device: torch.device) -> Iterable[torch.Tensor]:
    """On the device, in memory of their own: what is a share does not hold the whole batch."""
    return (tensor.to(device, copy=True) for tensor in tensors)


def _as_built(stage: CellStage, device: torch.device) -> bool:
    """Whether a model trains faster with its weights as they were built than in channels_last.

    Resnets on CPUs do, at least on small images: resnet18 on 32x32 in fp32 on one thread took 109
    and 125 ms a step at batch 32, 55 and 75 ms at batch 8.
    """
    return isinstance(stage.network, Resnet) and device.type == "cpu"


def _cut(workload: Workload, count: int) -> list[Workload]:
    """The batch in `count` equal pieces."""
    size, rest = divmod(len(workload.targets), count)
    assert rest == 0, "a mean of means is the mean over pieces of one size only"
    return [workload.share(piece * size, (piece + 1) * size) for piece in range(count)]


def _replicated(
    stage: CellStage, model: nn.Module, device: torch.device
) -> DistributedDataParallel:
    """The whole model in every process; gradients travel in the form that the strategy names."""
    strategy, gloo = stage.cell.strategy, dist.get_backend() == "gloo"
    if strategy == "ddp-bf16" and dist.get_backend() != "nccl":
        raise UnsupportedError(
            "ddp-bf16 needs NCCL, which torch's bf16_compress_hook is made for, and so GPUs; on "
            "CPUs take ddp-fp16"
        )
    if strategy == "powersgd" and stage.cell.precision == "fp16":
        raise UnsupportedError(
            "powersgd carries over what it left out of each gradient, and under the loss scaling "
            "of fp16 an overflow would stay in it for ever; take bf16"
        )
    # PowerSGD begins further all-reduces in gloo's threads, as earlier ones end. With a second
    # bucket under way each process begins them in an order of its own: one is taken for another,
    # or all wait for ever.
    one_bucket = {"bucket_cap_mb": ONE_BUCKET_MB} if strategy == "powersgd" and gloo else {}
    devices = None if device.type == "cpu" else [device]
    model = _placed(stage, model, device)
    wrapped = DistributedDataParallel(model, device_ids=devices, **one_bucket)
    if strategy == "ddp-fp16":
        wrapped.register_comm_hook(None, default_hooks.fp16_compress_hook)
    elif strategy == "ddp-bf16":
        wrapped.register_comm_hook(None, default_hooks.bf16_compress_hook)
    elif strategy == "powersgd":
        state = PowerSGDState(
            process_group=None,
            matrix_approximation_rank=stage.measuring.powersgd_rank,
            start_powerSGD_iter=STEPS_BEFORE_COMPRESSION,
            orthogonalization_epsilon=POWERSGD_EPSILON,
        )
        wrapped.register_comm_hook(state, powerSGD_hook)
    return wrapped


def _sharded(stage: CellStage, workload: Workload, device: torch.device) -> nn.Module:
    """The model with every weight cut over the processes; the blocks of `shards` and the rest are
    gathered where they are computed, in 16 bits if they are computed so."""
    model = _placed(stage, workload.model, device)
    with_batch_norm = any(isinstance(module, _BatchNorm) for module in model.modules())
    # BatchNorm keeps its weights and statistics in 32 bits: such models are gathered so, and
    # autocast alone computes in 16. Inputs stay as they are: autocast knows which to cast.
    policy = MixedPrecisionPolicy(
        param_dtype=None if with_batch_norm else LOW_PRECISION.get(stage.cell.precision),
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for module in (*workload.shards, model):
        fully_shard(module, mesh=mesh, mp_policy=policy)
    return model


def _check_micro_batches(stage: CellStage) -> None:
    """Raise UnsupportedError where a schedule cannot run with the micro-batches of the config."""
    pieces, stages, batch = stage.measuring.micro_batches, stage.cell.world, stage.cell.global_batch
    if batch % pieces:
        raise UnsupportedError(
            f"the {batch} samples of a step cannot be cut into micro_batches = {pieces}; numbers "
            f"that divide them: {divisors(batch)}"
        )
    if stage.cell.strategy == "pipeline-1f1b" and pieces < stages:
        raise UnsupportedError(
            f"pipeline-1f1b needs a micro-batch for each of its {stages} stages: raise "
            f"micro_batches = {pieces} to {stages} or more, or take pipeline-gpipe"
        )
