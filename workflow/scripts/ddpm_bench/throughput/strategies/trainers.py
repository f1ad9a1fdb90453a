"""Trainers of the throughput benchmark: the optimiser step that all strategies share.

A trainer copies this process's share of the global batch to its device once and trains on it at
every step, so that loading data is not part of the measurement.
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

LOW_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}
SGD_MOMENTUM = 0.9
# fully_shard needs contiguous weights; powersgd views gradients as matrices in their memory order.
CONTIGUOUS = ("fsdp", "powersgd")


class LossScaler:
    """Dynamic loss scaling (Micikevicius et al. 2018): all processes skip a step, or none does.

    torch's ShardedGradScaler does not work with the fused Adam of sharded weights (torch 2.14).
    Where `enabled` is false the scale stays 1 and no step is skipped. agreeing: each process has
    the gradients of its part of the model only, so that the decision is reduced over processes.
    """

    def __init__(self, device: torch.device, enabled: bool, agreeing: bool) -> None:
        self._enabled = enabled
        self._agreeing = agreeing
        self.scale = torch.tensor(FIRST_SCALE if enabled else 1.0, device=device)
        self._good_steps = torch.zeros((), device=device)  # since the scale last changed

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss times the scale, on which to call backward()."""
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
            # The fused kernels divide by grad_scale, and change nothing where found_inf is 1.
            optimizer.grad_scale, optimizer.found_inf = self.scale, skipped
            optimizer.step()
        elif not skipped:
            torch._foreach_div_(gradients, self.scale)
            optimizer.step()
        self.scale, self._good_steps = next_scale(self.scale, self._good_steps, skipped > 0)


def _gradients(optimizer: torch.optim.Optimizer) -> Iterable[torch.Tensor]:
    """Yield the gradients that this process holds, of sharded weights its shards."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                yield local(parameter.grad)


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return the part of a tensor that this process holds, or the tensor if it is not sharded."""
    # A DTensor; its class takes half a second to import.
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


class StrategyTrainer(ABC):
    """Trainer on one batch; `parameter_bytes` counts the weights that this process holds."""

    def __init__(
        self,
        stage: CellStage,
        parameters: Iterable[nn.Parameter],
        device: torch.device,
        parted: bool = False,
    ) -> None:
        """Build the optimiser, the loss scaler and autocast.

        parameters: those that this process holds; parted: each process holds only a part of the
        model.
        """
        held = list(parameters)
        sharded = any(local(item) is not item for item in held)
        self._optimizer = build_optimizer(stage.measuring, held, fused_sgd=not sharded)
        self._scaler = LossScaler(device, stage.cell.precision == "fp16", agreeing=parted)
        self._autocast = Autocast(device, stage.cell.precision)
        parts = [local(item) for item in held]
        self.parameter_bytes = sum(part.numel() * part.element_size() for part in parts)

    @abstractmethod
    def step(self) -> torch.Tensor | None:
        """Take one optimiser step and return the loss before it.

        The loss is a scalar on the device, the mean over the samples of this process; None in the
        processes of a pipeline that compute no loss.
        """


class Autocast:
    """Factory of torch.autocast contexts, in which a model and its loss are computed."""

    def __init__(self, device: torch.device, precision: str) -> None:
        self._device = device.type
        self._dtype = LOW_PRECISION.get(precision)

    def __call__(self) -> torch.autocast:
        return torch.autocast(self._device, self._dtype, enabled=self._dtype is not None)


def build_optimizer(
    measuring: CellMeasuring, parameters: list[nn.Parameter], fused_sgd: bool = True
) -> torch.optim.Optimizer:
    """Build Adam or SGD with momentum, fused into one kernel for all weights where torch can.

    Raises UnsupportedError where this process holds no parameters.
    """
    if not parameters:
        raise UnsupportedError("a process would hold no weights: use fewer processes")
    if measuring.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=measuring.learning_rate, fused=True)
    return torch.optim.SGD(
        parameters, lr=measuring.learning_rate, momentum=SGD_MOMENTUM, fused=fused_sgd
    )


class WholeModelTrainer(StrategyTrainer):
    """Trainer that calls one model, which may be wrapped by DDP or cut by fully_shard.

    parts: pieces of the batch, computed one after the other; a step takes the mean of their
    gradients.
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
    """Move a model to the device, in the memory layout that a training uses.

    Models of users keep their layout.
    """
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
    """Return true for models that train faster in the layout they were built in.

    Resnets on CPUs do, at least on small images: a step of resnet18 on 32x32 in fp32 on one thread
    took 109 ms as built and 125 ms in channels_last at batch 32, 55 and 75 ms at batch 8.
    """
    return isinstance(stage.network, Resnet) and device.type == "cpu"


def _copied(tensors: Iterable[torch.Tensor], device: torch.device) -> Iterable[torch.Tensor]:
    """Copy tensors to the device; a copy of a share does not keep the whole batch in memory."""

    return (tensor.to(device, copy=True) for tensor in tensors)
