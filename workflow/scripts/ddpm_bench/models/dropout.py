"""Dropout whose masks are a pure function of the seed, the step, the layer and the image.

Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting"; in
residual blocks as in Ho et al. 2020, appendix B. There is no generator to save: a training that
goes on, with other processes or micro-batches too, drops the elements that it would have dropped,
and so does a forward pass that is computed again in the backward pass.
"""

from collections.abc import Sequence

import torch
from torch import nn

from ddpm_bench.models.randomness import derived_seed

# Masks are drawn for so many consecutive images of a batch at once: few calls for a large batch,
# and little that is drawn in vain for a small part of one.
IMAGES_PER_DRAW = 32


class DropoutPosition:
    """The seed, step and image that all dropout layers of a network draw their masks for.

    In a tensor, int64 [3] on the CPU: compiled code takes it as an input and is not compiled again
    for each step.
    """

    def __init__(self) -> None:
        self.values = torch.zeros(3, dtype=torch.int64)

    def seek(self, seed: int, step: int, first: int) -> None:
        """Set the position of the next forward pass.

        It is of a step's images from number `first` of the whole batch.
        """
        for index, value in enumerate((seed, step, first)):
            self.values[index] = value


class Dropout(nn.Module):
    """Zeroes elements by chance and scales the others up; in evaluation it does nothing.

    layer: the number of this layer among those of its network.
    """

    def __init__(self, rate: float, layer: int, place: DropoutPosition) -> None:
        super().__init__()
        self.rate, self.layer, self.place = rate, layer, place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop elements of x, [n, C, H, W], images that follow each other in the batch."""
        if not self.training:
            return x
        sizes = [len(x), *x.shape[2:], x.shape[1]]
        kept = kept_elements(self.place.values, self.layer, sizes, self.rate, x.device)
        return x * kept.movedim(-1, 1) * (1 / (1 - self.rate))


# An operator of its own: compiled code calls it as it is, whereas generators would break its graph.
@torch.library.custom_op("ddpm_bench::kept_elements", mutates_args=())
def kept_elements(
    place: torch.Tensor, layer: int, sizes: Sequence[int], rate: float, device: torch.device
) -> torch.Tensor:
    """Draw the elements that stay, each with probability 1 - rate: bool [n, H, W, C].

    place: int64 [3], seed, step and the position in the batch of the first of the n images.
    """
    seed, step, first = place.tolist()
    count, *shape = sizes
    draws = range(first // IMAGES_PER_DRAW, -(-(first + count) // IMAGES_PER_DRAW))
    kept = [
        _drawn(derived_seed(seed, "dropout", step, layer, draw), shape, device) for draw in draws
    ]
    start = first - draws.start * IMAGES_PER_DRAW
    return torch.cat(kept)[start : start + count] >= rate


@kept_elements.register_fake
def _(
    place: torch.Tensor, layer: int, sizes: Sequence[int], rate: float, device: torch.device
) -> torch.Tensor:
    return torch.empty(sizes, dtype=torch.bool, device=device)


def _drawn(seed: int, shape: list[int], device: torch.device) -> torch.Tensor:
    """Draw numbers that are uniform in [0, 1): float32 [IMAGES_PER_DRAW, *shape]."""
    generator = torch.Generator(device)
    generator.manual_seed(seed)
    return torch.rand((IMAGES_PER_DRAW, *shape), generator=generator, device=device)


def replace_dropout(network: nn.Module) -> None:
    """Put our dropout in the place of torch's, where that drops something."""
    place, layer = DropoutPosition(), 0
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout) and child.p > 0:
                setattr(module, name, Dropout(child.p, layer, place))
                layer += 1


def dropout_position(network: nn.Module) -> DropoutPosition:
    """Return the position that the dropout layers of a network share.

    One without effect for a network that has none.
    """
    layers = (item for item in network.modules() if isinstance(item, Dropout))
    return next((layer.place for layer in layers), DropoutPosition())
