"""Blocks computed faster on CPUs are the package's blocks, forward and backward."""

import copy

import pytest
import torch
from denoising_diffusion_pytorch import denoising_diffusion_pytorch as package

from ddpm_bench.config.networks import Unet
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.models.fast_layers import (
    FORWARD,
    FORWARD_DRAWING,
    compute_for_cpu,
    in_channels_last,
)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def with_random_gains(module: torch.nn.Module) -> torch.nn.Module:
    """Gains of norms begin as 1, which would hide what is done with them."""
    for index, (name, value) in enumerate(module.named_parameters()):
        if name.endswith((".g", "mem_kv")):
            value.data = 1 + 0.3 * random(*value.shape, seed=index, dtype=value.dtype)
    return module


BLOCKS = {
    "rms norm": (lambda: package.RMSNorm(8), ()),
    "block": (lambda: package.Block(8, 8), ()),
    "block with time": (
        lambda: package.Block(8, 8),
        ((random(3, 8, 1, 1, seed=1), random(3, 8, 1, 1, seed=2)),),
    ),
    "linear attention": (lambda: package.LinearAttention(8, heads=2, dim_head=4), ()),
    "attention": (lambda: package.Attention(8, heads=2, dim_head=4), ()),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_block_equals_the_packages_in_values_and_gradients(name, layout):
    make, more = BLOCKS[name]
    theirs = with_random_gains(make().double())
    ours = compute_for_cpu(copy.deepcopy(theirs))
    results = []
    for module in (theirs, ours):
        given = random(3, 8, 4, 6, seed=3).contiguous(memory_format=layout).requires_grad_()
        given_more = [tuple(item.clone().requires_grad_() for item in pair) for pair in more]
        value = module(given, *given_more)
        (value * random(*value.shape, seed=4)).sum().backward()
        gradients = [given.grad, *(item.grad for item in module.parameters())]
        gradients += [item.grad for pair in given_more for item in pair]
        results.append([value.detach(), *gradients])
    for ours_, theirs_ in zip(*results[::-1], strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_linear_attention_for_drawing_equals_the_packages(layout):
    theirs = with_random_gains(package.LinearAttention(8, heads=2, dim_head=4).double())
    ours = compute_for_cpu(copy.deepcopy(theirs), FORWARD_DRAWING)
    given = random(3, 8, 4, 6, seed=3).contiguous(memory_format=layout)
    with torch.inference_mode():
        torch.testing.assert_close(ours(given), theirs(given), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("forward", [FORWARD, FORWARD_DRAWING], ids=["training", "drawing"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_whole_network_is_as_near_to_float64_as_the_packages(dtype, forward):
    keys = Unet(name="unet", dim=16, dim_mults=(1, 2), attn_heads=2, attn_dim_head=8)
    theirs = with_random_gains(build_model(keys, 1))
    ours = compute_for_cpu(with_random_gains(build_model(keys, 1)), forward)
    times = torch.tensor([3, 500])
    images = random(2, 1, 16, 16, dtype=torch.float32)
    exact = copy.deepcopy(theirs).double()(images.double(), times.double())
    errors = []
    for model in (ours, theirs):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            value = model(images, times)
        errors.append(((value.double() - exact).norm() / exact.norm()).item())
    assert 0 < errors[0] < 1.5 * errors[1] + 1e-6
    unpatched = {type(item) for item in ours.modules() if "forward" not in vars(item)}
    assert not unpatched & set(FORWARD)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("forward", [{}, FORWARD], ids=["the package's", "ours"])
def test_gradients_have_the_strides_of_weights(forward, dtype):
    """Along sides of length 1 too: DistributedDataParallel warns of others."""
    keys = Unet(name="unet", dim=8, dim_mults=(1, 2), attn_heads=2, attn_dim_head=8)
    model = compute_for_cpu(in_channels_last(build_model(keys, 3)), forward)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        model(random(2, 3, 8, 8, dtype=torch.float32), torch.tensor([3, 500])).sum().backward()
    odd = [name for name, item in model.named_parameters() if item.grad.stride() != item.stride()]
    assert odd == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_image_of_zeros_gives_finite_values(dtype):
    norm = compute_for_cpu(package.RMSNorm(8))
    given = torch.zeros(1, 8, 2, 2, dtype=dtype, requires_grad=True)
    value = norm(given)
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(given.grad).all()
