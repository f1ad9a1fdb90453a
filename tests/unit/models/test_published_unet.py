"""The network of the cifar10 study is that of Ho et al. 2020, written here from their program.

Their program is github.com/hojonathanho/diffusion: models/unet.py and nn.py. Weights are named as
diffusers names them, which holds no more of UNet2DModel than that.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from places import REPOSITORY
from pydantic import TypeAdapter

from ddpm_bench.config.loading import read_config
from ddpm_bench.config.networks import Model, Unet2d
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.models.unet2d import unet2d_arguments

STUDY = read_config(REPOSITORY / "config" / "experiments" / "cifar10.yaml").experiments["ddpm"]
SMALL = {"block_out_channels": (8, 16, 16), "norm_num_groups": 4}
PUBLISHED = ("norm_eps", "flip_sin_to_cos", "freq_shift", "downsample_padding")
Weights = dict[str, torch.Tensor]


def small(**keys) -> Unet2d:
    """Return the study's network at a small size, with random weights in every layer."""
    zero = {"zero_residual": False, "zero_output": False, "dropout": 0.0, "init": "default"}
    return STUDY.model.model_copy(update={**SMALL, **zero, **keys})


def published_unet(weights: Weights, keys: Unet2d, x: torch.Tensor, t: torch.Tensor):
    """Return the prediction [N, C, H, W] of the published network."""
    levels, blocks = len(keys.block_out_channels), keys.layers_per_block
    temb = timestep_embedding(t, keys.block_out_channels[0])
    temb = layer(weights, "time_embedding.linear_1", temb)
    temb = layer(weights, "time_embedding.linear_2", swish(temb))

    def residual(name: str, h: torch.Tensor) -> torch.Tensor:
        new = conv(weights, f"{name}.conv1", swish(normalize(weights, f"{name}.norm1", h, keys)))
        new = new + layer(weights, f"{name}.time_emb_proj", swish(temb))[:, :, None, None]
        new = conv(weights, f"{name}.conv2", swish(normalize(weights, f"{name}.norm2", new, keys)))
        wider = f"{name}.conv_shortcut.weight" in weights
        return new + (F.conv2d(h, *pair(weights, f"{name}.conv_shortcut")) if wider else h)

    def block(name: str, number: int, level: int, h: torch.Tensor) -> torch.Tensor:
        h = residual(f"{name}.resnets.{number}", h)
        attends = level in keys.attention_levels
        return attention(weights, f"{name}.attentions.{number}", h, keys) if attends else h

    skips = [conv(weights, "conv_in", x)]
    for level in range(levels):
        for number in range(blocks):
            skips.append(block(f"down_blocks.{level}", number, level, skips[-1]))
        if level < levels - 1:
            name = f"down_blocks.{level}.downsamplers.0.conv"
            # SAME for an even side, a kernel of 3 and strides of 2: one zero, at the end.
            skips.append(F.conv2d(F.pad(skips[-1], (0, 1, 0, 1)), *pair(weights, name), stride=2))
    h = residual("mid_block.resnets.0", skips[-1])
    h = residual("mid_block.resnets.1", attention(weights, "mid_block.attentions.0", h, keys))
    for place, level in enumerate(reversed(range(levels))):
        for number in range(blocks + 1):
            h = block(f"up_blocks.{place}", number, level, torch.cat((h, skips.pop()), dim=1))
        if level > 0:
            h = h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            h = conv(weights, f"up_blocks.{place}.upsamplers.0.conv", h)
    return conv(weights, "conv_out", swish(normalize(weights, "conv_norm_out", h, keys)))


def timestep_embedding(t: torch.Tensor, channels: int) -> torch.Tensor:
    half = channels // 2
    rates = torch.exp(-math.log(10000) / (half - 1) * torch.arange(half, dtype=torch.float32))
    angles = t.float()[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1).double()


def swish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


def pair(weights: Weights, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def layer(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    weight, bias = pair(weights, name)
    return x @ weight.T + bias


def conv(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.conv2d(F.pad(x, (1, 1, 1, 1)), *pair(weights, name))


def normalize(weights: Weights, name: str, x: torch.Tensor, keys: Unet2d) -> torch.Tensor:
    """tf.contrib's group_norm, whose epsilon is 1e-6."""
    grouped = x.unflatten(1, (keys.norm_num_groups, -1))
    mean = grouped.mean(dim=(2, 3, 4), keepdim=True)
    variance = ((grouped - mean) ** 2).mean(dim=(2, 3, 4), keepdim=True)
    normed = ((grouped - mean) / (variance + 1e-6).sqrt()).flatten(1, 2)
    gain, bias = pair(weights, name)
    return normed * gain[:, None, None] + bias[:, None, None]


def attention(weights: Weights, name: str, x: torch.Tensor, keys: Unet2d) -> torch.Tensor:
    pixels = normalize(weights, f"{name}.group_norm", x, keys).flatten(2).transpose(1, 2)
    q, k, v = (layer(weights, f"{name}.to_{part}", pixels) for part in "qkv")
    shares = torch.softmax(q @ k.transpose(1, 2) * x.shape[1] ** -0.5, dim=2)
    out = layer(weights, f"{name}.to_out.0", shares @ v)
    return x + out.transpose(1, 2).unflatten(2, x.shape[2:])


def outputs(keys: Unet2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the predictions of our network and of the published one with its weights."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, 16, 16, generator=generator).double() * 1e-2  # where eps counts
    times = torch.tensor([1, 300, 999])
    model = build_model(keys, 3, seed=1).double().eval()
    with torch.no_grad():
        for value in model.parameters():  # no layer is plain: norms have gains, biases are not 0
            value.add_(torch.randn(value.shape, generator=generator).double() * 0.1)
        return model(images, times), published_unet(model.state_dict(), keys, images, times)


def test_the_network_of_the_study_computes_what_the_published_program_does():
    ours, published = outputs(small())
    torch.testing.assert_close(ours, published, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("key", PUBLISHED)
def test_each_key_at_its_default_is_another_network(key):
    ours, published = outputs(small(**{key: Unet2d.model_fields[key].default}))
    assert float((ours - published).abs().max()) > 1e-6


def test_the_arguments_of_the_study_are_those_of_the_published_weights_in_diffusers():
    """google/ddpm-cifar10-32, which diffusers' authors converted from the published weights."""
    assert unet2d_arguments(STUDY.model, 3) == {
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (128, 256, 256, 256),
        "layers_per_block": 2,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": None,
        "norm_num_groups": 32,
        "norm_eps": 1e-6,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "dropout": 0.1,  # in training only
    }


def test_arguments_at_the_defaults_of_diffusers_are_left_out():
    plain = TypeAdapter(Model).validate_python({"name": "unet2d"})
    assert not set(PUBLISHED) & set(unet2d_arguments(plain, 3))
