"""Faster computation, on CPUs, of the blocks of denoising-diffusion-pytorch's U-Net.

Parameters and mathematics are the package's; only the order of sums differs. Two things cost much
there. Attention moves its tensors between memory layouts: here projections are matrix products
[out, in] x [in, pixels] for each image, whose results lie as the next product reads them. And under
autocast the float32 gains of norms turn activations into float32, which the next convolution turns
back: here activations keep their type, and a norm keeps only its input for the backward pass. On
GPUs torch.compile has the same effect.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from denoising_diffusion_pytorch import denoising_diffusion_pytorch as package
from torch import nn


class ScaledNorm(torch.autograd.Function):
    """A norm over channels: gain * x / |x|, the package's RMSNorm with sqrt(channels) in the gain.

    x: [N, C, H, W]; gain: float32 [1 or N, C, 1, 1].
    """

    @staticmethod
    def forward(context, x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        smallest = 1e-4 if x.dtype == torch.float16 else 1e-12  # the inverse must be finite
        exact = torch.promote_types(x.dtype, torch.float32)
        size = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=exact)
        inverse = size.clamp_min_(smallest).reciprocal_().to(x.dtype)
        context.save_for_backward(x, inverse, gain)
        return (x * inverse).mul_(gain.to(x.dtype))

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, inverse, gain = context.saved_tensors
        unit = x * inverse
        product = gradient * unit
        over = (2, 3) if len(gain) > 1 else (0, 2, 3)
        of_gain = product.sum(over, keepdim=True, dtype=gain.dtype)
        gain = gain.to(x.dtype)
        along = product.mul_(gain).sum(1, keepdim=True)
        of_x = (gradient * gain).addcmul_(unit, along, value=-1).mul_(inverse)
        return of_x, of_gain


class BesideMemory(torch.autograd.Function):
    """Images as matrices with the identity beside them: [N, C, H, W] -> [N, C + m, HW + m].

    [W | M] times it is [W x | M]: a projection of all pixels, followed by m learnt columns.
    """

    @staticmethod
    def forward(context, x: torch.Tensor, memory: int) -> torch.Tensor:
        images, channels, height, width = context.shape = x.shape
        pixels = height * width
        beside = x.new_zeros(images, channels + memory, pixels + memory)
        beside[:, :channels, :pixels] = x.flatten(2)
        beside[:, channels:, pixels:] = torch.eye(memory, dtype=x.dtype, device=x.device)
        return beside

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        _, channels, height, width = context.shape
        return _as_images(gradient[:, :channels, : height * width], height, width), None


def _as_images(matrices: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return matrices [N, C, HW] as images [N, C, H, W] in channels_last, fastest to convolve."""
    return matrices.unflatten(2, (height, width)).contiguous(memory_format=torch.channels_last)


def rms_norm(norm: package.RMSNorm, x: torch.Tensor) -> torch.Tensor:
    """Compute the package's RMSNorm: [N, C, H, W] to [N, C, H, W]."""
    return ScaledNorm.apply(x, norm.g * norm.scale)


def block(
    self: package.Block,
    x: torch.Tensor,
    scale_shift: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Compute the package's Block: convolution, norm, scale and shift by time, SiLU, dropout."""
    x = self.proj(x)
    gain = self.norm.g * self.norm.scale
    if scale_shift is None:
        return self.dropout(F.silu(ScaledNorm.apply(x, gain)))
    scale, shift = scale_shift
    normed = ScaledNorm.apply(x, gain * (scale.to(gain.dtype) + 1))
    return self.dropout(F.silu(normed + shift.to(x.dtype)))


def _projections(
    self: package.LinearAttention | package.Attention, x: torch.Tensor, memory: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return queries, keys and values, those with columns from memory beside the pixels.

    Queries: [N, heads x d, HW]; keys and values: [N, heads x d, HW + m], the last m from memory:
    [2, heads, d, m].
    """
    images, channels = x.shape[:2]
    beside = BesideMemory.apply(x, memory.shape[-1])
    for_queries, for_keys, for_values = _matrix(self.to_qkv, x.dtype).chunk(3)
    key_memory, value_memory = memory.to(x.dtype).flatten(1, 2)
    pixels = beside[:, :channels, : x.shape[2] * x.shape[3]]
    return (
        torch.bmm(_each(for_queries, images), pixels),
        torch.bmm(_each(torch.cat((for_keys, key_memory), 1), images), beside),
        torch.bmm(_each(torch.cat((for_values, value_memory), 1), images), beside),
    )


def _matrix(layer: nn.Conv2d, dtype: torch.dtype) -> torch.Tensor:
    """Return the weights of a convolution by 1x1 kernels as a matrix: [out, in].

    Read in the order of channels_last, so that gradients get the strides of weights in it, as those
    of convolutions do. `flatten(1)` alone is the same matrix, but its gradient has other strides
    along the kernel's sides, of which DistributedDataParallel warns.
    """
    return layer.weight.to(dtype).movedim(1, 3).flatten(1)


def _each(matrix: torch.Tensor, images: int) -> torch.Tensor:
    """Return a matrix for each image, without a copy: [N, out, in]."""
    return matrix.expand(images, *matrix.shape)


def _by_head(projection: torch.Tensor, heads: int) -> torch.Tensor:
    """Split projections by heads: [N, heads x d, pixels] -> [N x heads, d, pixels]."""
    return projection.unflatten(1, (heads, -1)).flatten(0, 1)


def _output(layer: nn.Conv2d, heads: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return the output projection of [N x heads, d, HW] as images in the shape of `like`."""
    images, _, height, width = like.shape
    weight = _matrix(layer, heads.dtype)
    projected = torch.bmm(_each(weight, images), heads.reshape(images, weight.shape[1], -1))
    return _as_images(projected, height, width) + layer.bias.to(heads.dtype)[:, None, None]


def linear_attention(self: package.LinearAttention, x: torch.Tensor) -> torch.Tensor:
    """Compute the package's LinearAttention: [N, C, H, W] to [N, C, H, W].

    Shen et al. 2021, "Efficient Attention"; softmax over d for queries, over pixels for keys.
    """
    x = _in_compute_type(self.norm(x))
    with torch.autocast(x.device.type, enabled=False):
        queries, keys, values = _projections(self, x, self.mem_kv)
        queries = _by_head(queries, self.heads).softmax(1)
        keys = _by_head(keys.softmax(2), self.heads)
        context = torch.bmm(_by_head(values, self.heads), keys.transpose(1, 2)) * self.scale
        projected = _output(self.to_out[0], torch.bmm(context, queries), x)
    return self.to_out[1](projected)


def linear_attention_drawing(self: package.LinearAttention, x: torch.Tensor) -> torch.Tensor:
    """Compute LinearAttention with fewer operations, where no gradients are needed.

    Values and output projection act on the small matrices between keys and queries, not on the
    pixels. For a head out = W_out (V K^T) Q with V = W_values x, so V K^T = W_values (x K^T), and
    W_out (V K^T) is [C, d]: two products over the pixels instead of four.
    """
    x = _in_compute_type(self.norm(x))
    with torch.autocast(x.device.type, enabled=False):
        images, channels, height, width = x.shape
        count = height * width
        beside = BesideMemory.apply(x, self.mem_kv.shape[-1])
        pixels = beside[:, :channels, :count]
        for_queries, for_keys, for_values = _matrix(self.to_qkv, x.dtype).chunk(3)
        key_memory, value_memory = self.mem_kv.to(x.dtype).flatten(1, 2)
        queries = torch.bmm(_each(for_queries, images), pixels)
        queries = _by_head(queries, self.heads).softmax(1).view(images, -1, count)
        keys = torch.bmm(_each(torch.cat((for_keys, key_memory), 1), images), beside).softmax(2)
        seen = torch.bmm(keys, beside.transpose(1, 2))  # [N, heads x d, C + m]
        values = torch.cat((for_values, value_memory), 1).unflatten(0, (self.heads, -1))
        context = values @ seen.unflatten(1, (self.heads, -1)).transpose(2, 3)  # [N, heads, d, d]
        outputs = _matrix(self.to_out[0], x.dtype).unflatten(1, (self.heads, -1))
        mixed = (outputs.transpose(0, 1) @ context).transpose(1, 2).flatten(2)  # [N, C, heads x d]
        projected = _as_images(torch.bmm(mixed * self.scale, queries), height, width)
        projected = projected + self.to_out[0].bias.to(x.dtype)[:, None, None]
    return self.to_out[1](projected)


def full_attention(self: package.Attention, x: torch.Tensor) -> torch.Tensor:
    """Compute the package's Attention (Vaswani et al. 2017, eq. 1): [N, C, H, W] to the same."""
    x = _in_compute_type(self.norm(x))
    with torch.autocast(x.device.type, enabled=False):
        memory = self.mem_kv.transpose(-1, -2)
        queries, keys, values = (
            _by_head(item, self.heads) for item in _projections(self, x, memory)
        )
        scores = torch.bmm(queries.transpose(1, 2), keys) * queries.shape[1] ** -0.5
        attended = torch.bmm(values, scores.softmax(2).transpose(1, 2))
        return _output(self.to_out, attended, x)


def _in_compute_type(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor in the type that autocast computes in."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


FORWARD = {
    package.RMSNorm: rms_norm,
    package.Block: block,
    package.LinearAttention: linear_attention,
    package.Attention: full_attention,
}


FORWARD_DRAWING = {**FORWARD, package.LinearAttention: linear_attention_drawing}


def compute_for_cpu(model: nn.Module, forward: dict[type, Callable] = FORWARD) -> nn.Module:
    """Replace the forward passes of a network's blocks by those above; return the network."""
    for module in model.modules():
        if type(module) in forward:
            module.forward = functools.partial(forward[type(module)], module)
    return model


def in_channels_last(model: nn.Module) -> nn.Module:
    """Lay the weights of convolutions out in the fastest order; return the network.

    Results stay the same up to the order of sums. Other parameters keep their strides, which their
    gradients have too.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return model
