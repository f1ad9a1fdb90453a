"""A model, its batch and its loss, as a cell of the benchmark trains them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Workload:
    """A model with a batch to train on.

    inputs: what the model is called with, each [samples, ...]; targets: [samples, ...]; loss: takes
    the model's output and the targets, gives the mean over samples (a scalar). shards: the blocks
    that fully_shard gathers one at a time, beside the whole.
    """

    model: nn.Module
    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor
    loss: Callable[[Any, torch.Tensor], torch.Tensor]
    sample: str = "sample"
    shards: tuple[nn.Module, ...] = ()

    def share(self, start: int, stop: int) -> "Workload":
        """With these samples of the batch only."""
        inputs = tuple(tensor[start:stop] for tensor in self.inputs)
        return replace(self, inputs=inputs, targets=self.targets[start:stop])
