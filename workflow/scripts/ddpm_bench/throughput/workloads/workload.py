"""Workload of a cell of the throughput benchmark: a model, its batch and its loss."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Workload:
    """Model with a batch to train on.

    inputs: the arguments of the model, each [samples, ...]; targets: [samples, ...]; loss: maps the
    model's output and the targets to the mean over samples, a scalar; sample: the name of what is
    counted; shards: the blocks that fully_shard gathers one at a time, beside the whole model.
    """

    model: nn.Module
    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor
    loss: Callable[[Any, torch.Tensor], torch.Tensor]
    sample: str = "sample"
    shards: tuple[nn.Module, ...] = ()

    def share(self, start: int, stop: int) -> "Workload":
        """Return the workload with samples `start` to `stop` - 1 of the batch only."""

        inputs = tuple(tensor[start:stop] for tensor in self.inputs)
        return replace(self, inputs=inputs, targets=self.targets[start:stop])
