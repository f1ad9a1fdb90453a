"""Sizes of networks, counted from their keys: parameters, and activations of one image.

Jobs ask for memory by these sizes before torch is imported. Tests compare them with the networks.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from ddpm_bench.config.networks import Unet, Unet2d, VqVae
from ddpm_bench.config.training import Trained

MEMORY_COLUMNS = 4  # learned keys and values of each attention block of the `unet`


@dataclass(frozen=True)
class NetworkSize:
    """Size of a network as numbers of elements.

    activations: outputs of all convolutions and linear layers for one image. widest: those of them
    at the resolution that has most, which bounds the ones held at a time without gradients.
    attention: weights from pixel to pixel, of all blocks for one image.
    """

    parameters: int
    activations: int
    widest: int
    attention: int


@dataclass(frozen=True)
class _Layer:
    """Size of a layer."""

    parameters: int
    elements: int  # of its output for one image
    pixels: int  # of its output
    attention: int = 0  # weights from pixel to pixel


@functools.cache
def network_size(keys: Trained, channels: int, image_size: int) -> NetworkSize:
    """Return the size of a network for square images, or latents, of `image_size` pixels."""
    if isinstance(keys, VqVae):
        layers = list(_vqvae(keys, channels, image_size))
    else:
        inputs = channels * (2 if keys.self_condition else 1)
        kind = _unet if isinstance(keys, Unet) else _unet2d
        layers = list(kind(keys, inputs, channels, image_size))
    by_pixels: dict[int, int] = {}
    for layer in layers:
        by_pixels[layer.pixels] = by_pixels.get(layer.pixels, 0) + layer.elements
    return NetworkSize(
        parameters=sum(layer.parameters for layer in layers),
        activations=sum(layer.elements for layer in layers),
        widest=max(by_pixels.values()),
        attention=sum(layer.attention for layer in layers),
    )


def _convolution(inputs: int, outputs: int, kernel: int, pixels: int) -> _Layer:
    return _Layer(inputs * outputs * kernel**2 + outputs, outputs * pixels, pixels)


def _linear(inputs: int, outputs: int) -> _Layer:
    return _Layer(inputs * outputs + outputs, outputs, 1)


def _gains(count: int) -> _Layer:
    """Return the size of a norm with so many parameters."""
    return _Layer(count, 0, 1)


def _unet(keys: Unet, inputs: int, outputs: int, image_size: int) -> Iterator[_Layer]:
    """Yield the layers of the U-Net of denoising-diffusion-pytorch."""
    widths = [keys.dim, *(keys.dim * mult for mult in keys.dim_mults)]
    levels = list(itertools.pairwise(widths))
    last = len(levels) - 1
    time = keys.dim * 4
    pixels = [(image_size >> level) ** 2 for level in range(len(levels))]

    yield _convolution(inputs, keys.dim, 7, pixels[0])
    yield _linear(keys.dim, time)
    yield _linear(time, time)
    for level, (narrow, wide) in enumerate(levels):
        here = pixels[level]
        for _ in range(2):
            yield from _unet_residual(narrow, narrow, time, here)
        yield from _unet_attention(keys, narrow, here, full=level == last)
        if level == last:
            yield _convolution(narrow, wide, 3, here)
        else:  # four pixels become channels of one
            yield _convolution(narrow * 4, wide, 1, pixels[level + 1])
    yield from _unet_residual(widths[-1], widths[-1], time, pixels[-1])
    yield from _unet_attention(keys, widths[-1], pixels[-1], full=True)
    yield from _unet_residual(widths[-1], widths[-1], time, pixels[-1])
    for level, (narrow, wide) in reversed(list(enumerate(levels))):
        here = pixels[level]
        for _ in range(2):
            yield from _unet_residual(wide + narrow, wide, time, here)
        yield from _unet_attention(keys, wide, here, full=level == last)
        yield _convolution(wide, narrow, 3, pixels[max(level - 1, 0)])
    yield from _unet_residual(keys.dim * 2, keys.dim, time, pixels[0])
    yield _convolution(keys.dim, outputs, 1, pixels[0])


def _unet_residual(inputs: int, outputs: int, time: int, pixels: int) -> Iterator[_Layer]:
    yield _linear(time, outputs * 2)
    yield _convolution(inputs, outputs, 3, pixels)
    yield _convolution(outputs, outputs, 3, pixels)
    yield _gains(outputs * 2)
    if inputs != outputs:
        yield _convolution(inputs, outputs, 1, pixels)


def _unet_attention(keys: Unet, channels: int, pixels: int, full: bool) -> Iterator[_Layer]:
    """Yield the layers of an attention block.

    full: each pixel attends to each; otherwise linear attention, whose output has a norm.
    """
    hidden = keys.attn_heads * keys.attn_dim_head
    yield _gains(channels)
    yield _Layer(channels * hidden * 3, hidden * 3 * pixels, pixels)
    yield _Layer(2 * MEMORY_COLUMNS * hidden, hidden * pixels, pixels)
    yield _convolution(hidden, channels, 1, pixels)
    if full:
        yield _Layer(0, 0, pixels, keys.attn_heads * pixels * (pixels + MEMORY_COLUMNS))
    else:
        yield _gains(channels)


def _unet2d(keys: Unet2d, inputs: int, outputs: int, image_size: int) -> Iterator[_Layer]:
    """Yield the layers of UNet2DModel of diffusers."""
    widths = keys.block_out_channels
    last = len(widths) - 1
    time = widths[0] * 4
    pixels = [(image_size >> level) ** 2 for level in range(len(widths))]

    yield _convolution(inputs, widths[0], 3, pixels[0])
    yield _linear(widths[0], time)
    yield _linear(time, time)
    skips = [widths[0]]
    before = widths[0]
    for level, width in enumerate(widths):
        for _ in range(keys.layers_per_block):
            yield from _unet2d_residual(before, width, time, pixels[level])
            if level in keys.attention_levels:
                yield from _unet2d_attention(keys, width, pixels[level])
            before = width
            skips.append(width)
        if level < last:
            yield _convolution(width, width, 3, pixels[level + 1])
            skips.append(width)
    yield from _unet2d_residual(before, before, time, pixels[-1])
    yield from _unet2d_attention(keys, before, pixels[-1])
    yield from _unet2d_residual(before, before, time, pixels[-1])
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(keys.layers_per_block + 1):
            yield from _unet2d_residual(before + skips.pop(), width, time, pixels[level])
            if level in keys.attention_levels:
                yield from _unet2d_attention(keys, width, pixels[level])
            before = width
        if level > 0:
            yield _convolution(width, width, 3, pixels[level - 1])
    yield _gains(widths[0] * 2)
    yield _convolution(widths[0], outputs, 3, pixels[0])


def _unet2d_residual(inputs: int, outputs: int, time: int, pixels: int) -> Iterator[_Layer]:
    yield _gains((inputs + outputs) * 2)
    yield _convolution(inputs, outputs, 3, pixels)
    yield _linear(time, outputs)
    yield _convolution(outputs, outputs, 3, pixels)
    if inputs != outputs:
        yield _convolution(inputs, outputs, 1, pixels)


def _unet2d_attention(keys: Unet2d, channels: int, pixels: int) -> Iterator[_Layer]:
    heads = channels // (keys.attention_head_dim or channels)
    yield _gains(channels * 2)
    for _ in range(4):  # queries, keys, values, output
        yield _convolution(channels, channels, 1, pixels)
    yield _Layer(0, 0, pixels, heads * pixels**2)


def _vqvae(keys: VqVae, channels: int, image_size: int) -> Iterator[_Layer]:
    """Yield the layers of diffusers' encoder and decoder, and of the codebooks between them."""
    widths = keys.widths()
    pixels = [(image_size >> level) ** 2 for level in range(len(widths))]
    deepest, small = widths[-1], pixels[-1]

    yield _convolution(channels, widths[0], 3, pixels[0])
    before = widths[0]
    for level, width in enumerate(widths):
        for _ in range(keys.layers_per_block):
            yield from _autoencoder_residual(before, width, pixels[level])
            before = width
        if level < len(widths) - 1:
            yield _convolution(width, width, 3, pixels[level + 1])
    yield from _autoencoder_middle(keys, deepest, small)
    yield _gains(deepest * 2)
    yield _convolution(deepest, keys.latent_channels, 3, small)

    codes = keys.residual_quantizers * keys.codebook_size
    dimensions = keys.codebook_dim or keys.latent_channels
    yield _Layer(codes * dimensions, codes * small, small)  # the distance to each code
    if dimensions != keys.latent_channels:
        for inputs, outputs in (
            (keys.latent_channels, dimensions),
            (dimensions, keys.latent_channels),
        ):
            yield _convolution(inputs, outputs, 1, small)

    yield _convolution(keys.latent_channels, deepest, 3, small)
    yield from _autoencoder_middle(keys, deepest, small)
    before = deepest
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(keys.layers_per_block + 1):
            yield from _autoencoder_residual(before, width, pixels[level])
            before = width
        if level > 0:
            yield _convolution(width, width, 3, pixels[level - 1])
    yield _gains(widths[0] * 2)
    yield _convolution(widths[0], channels, 3, pixels[0])


def _autoencoder_residual(inputs: int, outputs: int, pixels: int) -> Iterator[_Layer]:
    yield _gains((inputs + outputs) * 2)
    yield _convolution(inputs, outputs, 3, pixels)
    yield _convolution(outputs, outputs, 3, pixels)
    if inputs != outputs:
        yield _convolution(inputs, outputs, 1, pixels)


def _autoencoder_middle(keys: VqVae, channels: int, pixels: int) -> Iterator[_Layer]:
    """Yield the layers of two residual blocks with attention of one head between them."""
    for _ in range(2):
        yield from _autoencoder_residual(channels, channels, pixels)
    if keys.attention:
        yield _gains(channels * 2)
        for _ in range(4):  # queries, keys, values, output
            yield _convolution(channels, channels, 1, pixels)
        yield _Layer(0, 0, pixels, pixels**2)
