"""Counts from the keys equal those of the networks themselves."""

import pytest
import torch

from ddpm_bench.config.networks import Unet, Unet2d, VqVae
from ddpm_bench.models.autoencoder import build_autoencoder
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.planning.network_size import network_size

SIZE = 16
NETWORKS = [
    Unet(name="unet", dim=8, dim_mults=(1, 2)),
    Unet(name="unet", dim=16, dim_mults=(1, 3, 2), attn_heads=2, attn_dim_head=8),
    Unet(name="unet", dim=24, dim_mults=(1,), self_condition=True),
    Unet2d(name="unet2d", block_out_channels=(32, 64), attention_levels=()),
    Unet2d(name="unet2d", block_out_channels=(32, 64, 32), layers_per_block=1, self_condition=True),
    Unet2d(
        name="unet2d", block_out_channels=(32, 64), attention_levels=(0, 1), attention_head_dim=8
    ),
    VqVae(name="vqvae", channels=32),
    VqVae(name="vqvae", channels=32, downsampling=8, layers_per_block=1, attention=False),
    VqVae(name="vqvae", channels=32, codebook_dim=2, residual_quantizers=3, codebook_size=8),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("keys", NETWORKS, ids=lambda keys: f"{keys.name}{NETWORKS.index(keys)}")
def test_parameters_and_activations_are_those_of_the_network(keys, channels):
    autoencoder = isinstance(keys, VqVae)
    model = (build_autoencoder if autoencoder else build_model)(keys, channels)
    counted = network_size(keys, channels, SIZE)
    assert counted.parameters == sum(value.numel() for value in model.parameters())

    outputs: list[int] = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(lambda *call: outputs.append(call[2].numel()))
    with torch.no_grad():
        model(torch.zeros(1, channels, SIZE, SIZE), *([] if autoencoder else [torch.zeros(1)]))
    # Attention's products between projections are no layers; everything else is counted.
    assert sum(outputs) <= counted.activations <= 1.5 * sum(outputs)
    assert counted.widest <= counted.activations


def test_attention_grows_with_the_square_of_the_pixels():
    keys = Unet(name="unet", dim=8, dim_mults=(1, 2))
    small, large = (network_size(keys, 3, size).attention for size in (16, 32))
    assert large == pytest.approx(16 * small, rel=0.2)
