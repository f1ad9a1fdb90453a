"""Consecutive stages of a model, for torch.distributed.pipelining."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ddpm_bench.planning.benchmark_cells import UnsupportedError
from ddpm_bench.throughput.strategies.pipeline_pieces import model_pieces
from ddpm_bench.throughput.workloads.workload import Workload

# Cost of reading and updating a weight, in operations of a forward pass. Cut by operations alone,
# the slower of two stages of resnet50 took 67% of the time (batch 32 at 32x32, one CPU core), with
# this cost 54%: the last level has most of the weights and few pixels.
OPERATIONS_PER_WEIGHT = 200

CHANNELS_LAST = (0, 2, 3, 1)  # order of dimensions of images [N, C, H, W]


class _ToDense(torch.autograd.Function):
    """Permutation of dimensions into a dense tensor; for images in channels_last a view."""

    @staticmethod
    def forward(context, x: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
        context.order = order
        return x.permute(order).contiguous()

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient.permute(_inverse(context.order)), None


class _FromDense(torch.autograd.Function):
    """Inverse permutation of dimensions, with a dense gradient."""

    @staticmethod
    def forward(context, x: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
        context.order = order
        # A layer of the user's may write into its input, which must not be a view then.
        return x.permute(_inverse(order)) if order == CHANNELS_LAST else x.clone()

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient.permute(context.order).contiguous(), None


def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """Return the inverse permutation."""
    return tuple(order.index(dimension) for dimension in range(len(order)))


class Stage(nn.Module):
    """Pieces of a model that one process computes.

    Takes the tensors that the stage before returns, as arguments; returns a tensor, or a tuple of
    them. Tensors between processes are dense, and so are their gradients: gloo sends no others, and
    receivers read with the strides of the first step. With `channels_last`, images pass as
    [N, H, W, C], which keeps this layout without copies.
    """

    def __init__(
        self, pieces: list[nn.Module], first: bool, last: bool, channels_last: bool
    ) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(pieces)
        self.first, self.last, self.channels_last = first, last, channels_last

    def forward(self, *state: torch.Tensor) -> Any:
        if not self.first:
            state = tuple(_FromDense.apply(tensor, self._order(tensor)) for tensor in state)
        for piece in self.pieces:
            state = _as_tuple(piece(*state))
        if not self.last:
            state = tuple(_ToDense.apply(tensor, self._order(tensor)) for tensor in state)
        return state[0] if len(state) == 1 else state

    def _order(self, tensor: torch.Tensor) -> tuple[int, ...]:
        """Return the order of dimensions in which a tensor passes between processes."""
        if self.channels_last and tensor.ndim == 4:
            return CHANNELS_LAST
        return tuple(range(tensor.ndim))


def _as_tuple(value: Any) -> tuple[Any, ...]:
    """Return a tuple as it is, and anything else as a tuple of one."""
    return value if isinstance(value, tuple) else (value,)


def pipeline_stages(workload: Workload, count: int) -> list[nn.Module]:
    """Cut a model into `count` stages whose most expensive one costs as little as possible.

    Costs count the operations of a forward pass, and the weights; all processes find the same cut,
    because nothing is timed. The stages hold the model's own parameters and, one after the other,
    compute the model's output. Raises UnsupportedError, with the reason, where the model cannot be
    cut into so many.
    """
    groups, costs = _divisible(workload, model_pieces(workload.model))
    if count > len(groups):
        raise UnsupportedError(
            f"{count} stages, and the model can be cut into {len(groups)} at most: set processes "
            f"x nodes to {len(groups)} or fewer"
        )
    sizes = balanced(tuple(costs), count)
    # Layers of users may rely on dense tensors.
    own = isinstance(workload.model, nn.Sequential)
    in_channels_last = not own and any(
        item.ndim == 4 and item.is_contiguous(memory_format=torch.channels_last)
        for item in workload.inputs
    )
    stages, start = [], 0
    for index, size in enumerate(sizes):
        pieces = [piece for group in groups[start : start + size] for piece in group]
        ends = {"first": index == 0, "last": index == count - 1}
        stages.append(Stage(pieces, **ends, channels_last=in_channels_last))
        start += size
    _check_that_nothing_is_shared(stages)
    return stages


@torch.enable_grad()
def _divisible(
    workload: Workload, pieces: list[nn.Module]
) -> tuple[list[list[nn.Module]], list[int]]:
    """Join pieces into the smallest groups that can be stages; return them and their costs.

    A group has trainable parameters, and its inputs are float tensors that need a gradient, which
    is what torch's stages can send to each other. Costs are of a batch, in operations.
    """
    device = next(workload.model.parameters()).device
    samples = len(workload.targets)
    few = min(samples, 2)
    state = tuple(tensor.to(device) for tensor in workload.share(0, few).inputs)
    groups: list[list[nn.Module]] = []
    costs: list[int] = []
    with _without_traces(workload.model):
        for piece in pieces:
            trained = any(parameter.requires_grad for parameter in piece.parameters())
            if not groups or (trained and all(map(_can_be_sent, state))):
                groups.append([])
                costs.append(0)
            with FlopCounterMode(display=False) as counter:
                state = _as_tuple(piece(*state))
            if isinstance(workload.model, nn.Sequential):
                _check_that_one_tensor_passes(piece, state)
            groups[-1].append(piece)
            operations = counter.get_total_flops() * samples // few
            weights = sum(parameter.numel() for parameter in piece.parameters())
            costs[-1] += operations + OPERATIONS_PER_WEIGHT * weights
    return groups, costs


def _can_be_sent(value: Any) -> bool:
    """Return true for a value that torch's pipeline stages can pass on."""
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.requires_grad


def _check_that_one_tensor_passes(child: nn.Module, state: tuple[Any, ...]) -> None:
    """Raise UnsupportedError unless a child of a Sequential returns a single tensor."""
    if len(state) != 1 or not isinstance(state[0], torch.Tensor):
        raise UnsupportedError(
            f"a {type(child).__name__} in a torch.nn.Sequential gives no single tensor, which is "
            "what stages of an own model pass on"
        )


@contextmanager
def _without_traces(model: nn.Module) -> Iterator[None]:
    """Restore the random generator and training modes when the block ends; meanwhile the model is
    in evaluation mode, so that running statistics do not change."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


@functools.cache
def balanced(costs: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return the sizes of `count` consecutive parts whose most expensive one costs the least.

    Each part has at least one item. Among equally good cuts, the first part is as small as it can
    be.
    """
    if count == 1:
        return (len(costs),)
    ways = [
        (first, *balanced(costs[first:], count - 1)) for first in range(1, len(costs) - count + 2)
    ]
    return min(ways, key=lambda sizes: _highest_cost(costs, sizes))


def _highest_cost(costs: tuple[int, ...], sizes: tuple[int, ...]) -> int:
    """Return the cost of the most expensive of consecutive parts of these sizes."""
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return max(sum(costs[end - size : end]) for end, size in zip(ends, sizes, strict=True))


def _check_that_nothing_is_shared(stages: list[nn.Module]) -> None:
    """Raise UnsupportedError if two stages use the same parameter."""

    owner: dict[int, int] = {}
    for index, stage in enumerate(stages):
        for name, parameter in stage.named_parameters():
            if owner.setdefault(id(parameter), index) != index:
                shape = list(parameter.shape)
                raise UnsupportedError(
                    f"a parameter {shape} is used in stages {owner[id(parameter)] + 1} and "
                    f"{index + 1} ({name}): no cut divides it"
                )
