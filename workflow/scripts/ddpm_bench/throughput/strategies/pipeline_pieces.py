"""Consecutive pieces of models, from which the stages of a pipeline are made.

A piece is a module that takes the tensors that the piece before it returns. The first takes the
model's inputs; the last returns the model's output. Pieces hold the model's own modules, and so its
parameters.
"""

from collections.abc import Iterator

import torch
from denoising_diffusion_pytorch import Unet as DenoisingUnet
from torch import nn

from ddpm_bench.planning.benchmark_cells import UnsupportedError


def model_pieces(model: nn.Module) -> list[nn.Module]:
    """Cut a model into its smallest pieces.

    Raises UnsupportedError, with the reason, for a model that cannot be cut.
    """
    if _only_calls_in_turn(model):
        return list(_children_in_turn(model))
    if isinstance(model, DenoisingUnet):
        return _pieces_of_unet(model)
    from torchvision.models import ResNet

    if isinstance(model, ResNet):
        return _pieces_of_resnet(model)
    from ddpm_bench.models.unet2d import ImageUnet2d

    if isinstance(model, ImageUnet2d):
        return _pieces_of_unet2d(model)
    raise UnsupportedError(
        f"how to cut a {type(model).__name__} into stages is not known: pipelines take own models "
        "that are a torch.nn.Sequential"
    )


def _only_calls_in_turn(model: nn.Module) -> bool:
    """Return true for a Sequential that only calls its children one after the other.

    A subclass, or one with a forward function of the user's, may do more.
    """
    plain = isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward
    return plain and "forward" not in vars(model)


def _children_in_turn(model: nn.Sequential) -> Iterator[nn.Module]:
    """Yield the children of nested Sequentials in the order of their calls."""
    for child in model:
        if _only_calls_in_turn(child):
            yield from _children_in_turn(child)
        else:
            yield child


def _pieces_of_resnet(model: nn.Module) -> list[nn.Module]:
    """Cut torchvision's ResNet: stem, residual blocks, classifier."""
    levels = (model.layer1, model.layer2, model.layer3, model.layer4)
    return [
        nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool),
        *(block for level in levels for block in level),
        nn.Sequential(model.avgpool, nn.Flatten(1), model.fc),
    ]


class Stem(nn.Module):
    """First piece of a U-Net: (noised images, times, ...) -> (x, embedded times).

    Stages pass on the embedded times, which are floats; the times themselves have no gradient.
    """

    def __init__(self, first: nn.Module, embed_times: nn.Module, estimates: bool) -> None:
        super().__init__()
        self.first, self.embed_times, self.estimates = first, embed_times, estimates

    def forward(
        self, images: torch.Tensor, times: torch.Tensor, estimate: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        if self.estimates:
            estimate = torch.zeros_like(images) if estimate is None else estimate
            images = torch.cat((estimate, images), dim=1)
        return self.first(images), self.embed_times(times)


class Timed(nn.Module):
    """Layer called with (x, embedded times), as all layers of a Step are."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        return self.layer(x, embedded)


class Untimed(Timed):
    """Layer that takes x alone and ignores the embedded times."""

    def forward(self, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Residual(Timed):
    """Layer of x alone whose output is added to x."""

    def forward(self, x: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + x


class Step(nn.Module):
    """Layers of a U-Net between two places where stages may be cut.

    Takes and returns (x, embedded times, *skips), the newest skip last. A skip is added by the step
    that has it as its input, not by the step that computes it, so that no tensor crosses a boundary
    twice, as output and as skip.
    """

    def __init__(self, *layers: Timed, adds_skip: bool = False, takes_skip: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.adds_skip, self.takes_skip = adds_skip, takes_skip

    def forward(
        self, x: torch.Tensor, embedded: torch.Tensor, *skips: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        if self.adds_skip:
            skips = (*skips, x)
        if self.takes_skip:
            x = torch.cat((x, skips[-1]), dim=1)
            skips = skips[:-1]
        for layer in self.layers:
            x = layer(x, embedded)
        return x, embedded, *skips


class Head(nn.Module):
    """Last step of a U-Net, and the layers from its output to the prediction."""

    def __init__(self, step: Step, *layers: nn.Module) -> None:
        super().__init__()
        self.step, self.layers = step, nn.Sequential(*layers)

    def forward(self, *state: torch.Tensor) -> torch.Tensor:
        x, _ = self.step(*state)  # no skip is left
        return self.layers(x)


def _pieces_of_unet(model: DenoisingUnet) -> list[nn.Module]:
    """Cut denoising-diffusion-pytorch's U-Net.

    It has two residual blocks a level, the second with attention, each followed by a skip, and one
    more skip after the first convolution.
    """
    pieces = [Stem(model.init_conv, model.time_mlp, model.self_condition)]
    for first, second, attention, downsample in model.downs:
        pieces += [
            Step(Timed(first), adds_skip=len(pieces) == 1),
            Step(Timed(second), Residual(attention), adds_skip=True),
            Step(Untimed(downsample), adds_skip=True),
        ]
    pieces += [
        Step(Timed(model.mid_block1), Residual(model.mid_attn)),
        Step(Timed(model.mid_block2)),
    ]
    for first, second, attention, upsample in model.ups:
        pieces += [
            Step(Timed(first), takes_skip=True),
            Step(Timed(second), Residual(attention), takes_skip=True),
            Step(Untimed(upsample)),
        ]
    last = Step(Timed(model.final_res_block), takes_skip=True)
    return [*pieces, Head(last, model.final_conv)]


class EmbeddedTimes(nn.Module):
    """Time embedding of diffusers: sinusoids, then two layers."""

    def __init__(self, sinusoids: nn.Module, layers: nn.Module) -> None:
        super().__init__()
        self.sinusoids, self.layers = sinusoids, layers

    def forward(self, times: torch.Tensor) -> torch.Tensor:
        return self.layers(self.sinusoids(times))


def _pieces_of_unet2d(model: nn.Module) -> list[nn.Module]:
    """Cut diffusers' UNet2DModel, in which a skip follows every layer but those of the middle and
    of upsampling."""
    embed = EmbeddedTimes(model.time_proj, model.time_embedding)
    estimates = model.config.in_channels > model.config.out_channels
    pieces = [Stem(model.conv_in, embed, estimates)]
    for level in model.down_blocks:
        pieces += [Step(*layers, adds_skip=True) for layers in _layers(level)]
        pieces += [Step(Untimed(item), adds_skip=True) for item in level.downsamplers or ()]
    middle = model.mid_block
    pieces.append(Step(Timed(middle.resnets[0]), adds_skip=True))
    for attention, resnet in zip(middle.attentions, middle.resnets[1:], strict=True):
        attends = () if attention is None else (Untimed(attention),)
        pieces.append(Step(*attends, Timed(resnet)))
    for level in model.up_blocks:
        pieces += [Step(*layers, takes_skip=True) for layers in _layers(level)]
        pieces += [Step(Untimed(item)) for item in level.upsamplers or ()]
    head = Head(pieces.pop(), model.conv_norm_out, model.conv_act, model.conv_out)
    return [*pieces, head]


def _layers(level: nn.Module) -> list[tuple[Timed, ...]]:
    """Return the residual layers of a level, each with its attention where the level has it."""

    attentions = getattr(level, "attentions", None) or [None] * len(level.resnets)
    return [
        (Timed(resnet),) if attention is None else (Timed(resnet), Untimed(attention))
        for resnet, attention in zip(level.resnets, attentions, strict=True)
    ]
