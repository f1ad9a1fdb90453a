"""Drawing, encoding and features "on cuda": no tensor meets one of the CPU, and results are its."""

import numpy as np
import pytest
import torch
from feature_spaces import CLASSIFIER, small_classifier
from labelled_digits import digits
from small_trainer import random_images
from stand_in_gpu import CUDA, stand_in_gpu

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.networks import Unet, VqVae
from ddpm_bench.config.sampling import Drawing, SampleStage
from ddpm_bench.latents.encoding import Decoder, Scaling, _encoded
from ddpm_bench.latents.reconstruction import reconstruct
from ddpm_bench.models.autoencoder import build_autoencoder
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.sampling.sampler import Sampler
from ddpm_bench.scoring.features.extraction import extract
from ddpm_bench.scoring.features.spaces import open_feature_space

CPU = torch.device("cpu")
UNET = Unet(name="unet", dim=8, dim_mults=(1, 2))
VQVAE = VqVae(
    name="vqvae", channels=8, downsampling=2, layers_per_block=1, norm_num_groups=4,
    codebook_size=16, residual_quantizers=2, codebook_dim=2,
)  # fmt: skip


def drawn(device: torch.device, model: Unet = UNET, objective: str = "pred_v", **keys):
    few = 12 if keys["scheduler"] == "heun" else 4
    stage = SampleStage(
        version=1, image_size=8, channels=1, model=model, diffusion=Diffusion(objective=objective),
        drawing=Drawing(steps=few, batch_size=2, **keys),
    )  # fmt: skip
    sampler = Sampler(stage, build_model(model, 1, seed=3).state_dict(), device)
    return sampler.draw(0, 2).numpy().astype(int)


@pytest.mark.parametrize(
    "keys",
    [
        {"scheduler": "ddpm"},
        {"scheduler": "ddpm", "variance": "fixed-large"},
        {"scheduler": "ddim", "eta": 0.7},
        {"scheduler": "dpmsolver++", "solver_order": 3},
        {"scheduler": "unipc", "karras_sigmas": True},
        {"scheduler": "euler"},
        {"scheduler": "euler-ancestral"},
        {"scheduler": "heun"},
        {"scheduler": "ddim", "precision": "bf16"},
        {"scheduler": "ddim", "model": UNET.model_copy(update={"self_condition": True})},
    ],
    ids=str,
)
def test_each_solver_draws_as_on_the_cpu(keys):
    with stand_in_gpu():
        there = drawn(CUDA, **keys)
    levels = 12 if "precision" in keys else 1
    assert np.abs(there - drawn(CPU, **keys)).max() <= levels


@pytest.fixture
def autoencoders():
    """The same autoencoder on both devices, inside the stand-in."""
    with stand_in_gpu():
        yield [build_autoencoder(VQVAE, 1).to(device).eval() for device in (CPU, CUDA)]


def test_latents_are_encoded_and_decoded_as_on_the_cpu(autoencoders):
    images = random_images(6)
    pairs = list(zip(autoencoders, (CPU, CUDA), strict=True))
    here, there = (_encoded(model, images, device) for model, device in pairs)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)
    assert _encoded(autoencoders[1], images[:0], CUDA).shape == (0, 4, 4, 4)
    latents, scaling = torch.from_numpy(here).movedim(-1, 1), Scaling([0.1] * 4, [0.5] * 4)
    shown = [Decoder(m, scaling).images(latents.to(device)).cpu() for m, device in pairs]
    torch.testing.assert_close(*shown, rtol=1e-4, atol=1e-5)
    codes = [reconstruct(model, images, device, id).counts for model, device in pairs]
    assert np.array_equal(*codes)


def test_features_are_those_of_the_cpu(tmp_path):
    weights, (images, _) = small_classifier(tmp_path), digits()
    here = extract(open_feature_space(CLASSIFIER, weights, CPU), [images], 20, 8, CPU)
    with stand_in_gpu():
        there = extract(open_feature_space(CLASSIFIER, weights, CUDA), [images], 20, 8, CUDA)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
