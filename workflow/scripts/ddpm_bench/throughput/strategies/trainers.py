"""One optimiser step, over and over: what all strategies of the throughput benchmark share.

A trainer takes this process's share of a global batch to its device once, and trains on it at every
step: loading data is no part of what is measured.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn

from ddpm_bench.config.benchmark import CellMeasuring, CellStage, OwnModel, Resnet
from ddpm_bench.config.networks import Unet
from ddpm_bench.models.fast_layers import in_channels_last
from ddpm_bench.planning.benchmark_cells import UnsupportedError
from ddpm_bench.throughput.workloads.workload import Workload
from ddpm_bench.training.optimizer import FIRST_SCALE, next_scale


class LossScaler:
    """Dynamic loss scaling (Micikevicius et al. 2018): all processes skip a step, or none does.

    torch's ShardedGradScaler would do, but not with the fused Adam of sharded weights (torch 2.14).
    Where `enabled` is false the scale stays 1 and no step is skipped. agreeing: each process sees
    the gradients of its part of the model only, so they have to ask each other.
    """

    def __init__(self, device: torch.device, enabled: bool, agreeing: bool) -> None:
        self._enabled = enabled
        self._agreeing = agreeing
        self.scale = torch.tensor(FIRST_SCALE if enabled else 1.0, device=device)
        self._good_steps = torch.zeros((), device=device)  # since the scale last changed

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """What to call backward() on."""
        return loss * self.scale if self._enabled else loss

    @torch.no_grad()
    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights with the gradients of the scaled loss, unless some are not finite."""
        if not self._enabled:
            optimizer.step()
            return
        gradients = list(_gradients(optimizer))
        skipped = (~torch.isfinite(torch.nn.utils.get_total_norm(gradients))).float()
        if self._agreeing:
            dist.all_reduce(skipped, dist.ReduceOp.MAX)
        if optimizer.defaults["fused"]:
            # The fused kernels divide by grad_scale and leave all as it is where found_inf is 1.
            optimizer.grad_scale, optimizer.found_inf = self.scale, skipped
            optimizer.step()
        elif not skipped:
            torch._foreach_div_(gradients, self.scale)
            optimizer.step()
        self.scale, self._good_steps = next_scale(self.scale, self._good_steps, skipped > 0)


def _gradients(optimizer: torch.optim.Optimizer) -> Iterable[torch.Tensor]:
    """Of this process: its shards of sharded weights."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                yield local(parameter.grad)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor."""
    # A DTensor; its class takes half a second to import.
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


LOW_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}
SGD_MOMENTUM = 0.9
# fully_shard refuses weights that lie otherwise; powersgd takes gradients for matrices as they lie.
CONTIGUOUS = ("fsdp", "powersgd")


class StrategyTrainer(ABC):
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
    measuring: CellMeasuring, parameters: list[nn.Parameter], fused_sgd: bool = True
) -> torch.optim.Optimizer:
    """Adam or SGD with momentum, in one kernel for all weights where torch has one."""
    if not parameters:
        raise UnsupportedError("a process would hold no weights: use fewer processes")
    if measuring.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=measuring.learning_rate, fused=True)
    return torch.optim.SGD(
        parameters, lr=measuring.learning_rate, momentum=SGD_MOMENTUM, fused=fused_sgd
    )


class WholeModelTrainer(StrategyTrainer):
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


def placed(stage: CellStage, model: nn.Module, device: torch.device) -> nn.Module:
    """On the device, and laid out as a training lays it out; models of users stay as they are."""
    if stage.cell.strategy in CONTIGUOUS:
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()
    elif not isinstance(stage.network, OwnModel) and not stays_as_built(stage, device):
        in_channels_last(model)
    model = model.to(device)
    if isinstance(stage.network, Unet) and device.type == "cpu":
        from ddpm_bench.models.fast_layers import compute_for_cpu

        return compute_for_cpu(model)
    return model


def stays_as_built(stage: CellStage, device: torch.device) -> bool:
    """Whether a model trains faster with its weights as they were built than in channels_last.

    Resnets on CPUs do, at least on small images: resnet18 on 32x32 in fp32 on one thread took 109
    and 125 ms a step at batch 32, 55 and 75 ms at batch 8.
    """
    return isinstance(stage.network, Resnet) and device.type == "cpu"


def _copied(tensors: Iterable[torch.Tensor], device: torch.device) -> Iterable[torch.Tensor]:
    """On the device, in memory of their own: what is a share does not hold the whole batch."""
    return (tensor.to(device, copy=True) for tensor in tensors)
