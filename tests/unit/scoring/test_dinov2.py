"""DINOv2 features from a local file: equal to transformers', interpolated as by the hub."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from feature_spaces import CPU
from places import REPOSITORY
from safetensors.torch import load_file, save_file
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from ddpm_bench.config.scoring import DINOV2_DIMENSIONS, FeatureStage
from ddpm_bench.errors import UserError
from ddpm_bench.scoring.features import dinov2
from ddpm_bench.scoring.features.dinov2 import ARCHITECTURES, Architecture, hub_positions
from ddpm_bench.scoring.features.extraction import extract
from ddpm_bench.scoring.features.spaces import open_feature_space

SMALL = Architecture(width=384, depth=2, heads=6)  # vit-s-14 of two layers


@pytest.fixture(scope="module")
def network():
    """Make a random network for 16 x 16 patches, so that no position is interpolated."""
    config = transformers.Dinov2Config(
        hidden_size=384, num_hidden_layers=2, num_attention_heads=6, image_size=224
    )
    torch.manual_seed(0)
    network = transformers.Dinov2Model(config).eval()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network


@pytest.fixture
def weights(network, tmp_path, monkeypatch):
    """Write the network's file in Hugging Face's layout."""
    monkeypatch.setitem(ARCHITECTURES, "vit-s-14", SMALL)
    network.save_pretrained(tmp_path)
    return tmp_path / "model.safetensors"


def opened(weights, **keys):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    stage = FeatureStage(
        version=1,
        features="dinov2",
        **({"weights_sha256": digest, "weights_name": "vit-s-14"} | keys),
    )
    return open_feature_space(stage, weights, CPU)


def test_features_are_the_networks_class_token_of_the_normalised_image(network, weights):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    space = opened(weights)
    ours, logits = extract(space, [images], 3, 2, CPU)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    pixels = interpolate_bilinear_2d_like_tensorflow1x(pixels, (224, 224), align_corners=False)
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    with torch.inference_mode():
        theirs = network((pixels / 255 - mean) / deviation).pooler_output.numpy()
    assert space.name == "dinov2-vit-s-14" and space.dimensions == 384 and logits is None
    assert np.ptp(theirs, axis=0).max() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_grayscale_is_repeated_to_three_channels(weights):
    gray = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 1), np.uint8)
    space = opened(weights)
    one, _ = extract(space, [gray], 1, 1, CPU)
    three, _ = extract(space, [gray.repeat(3, axis=3)], 1, 1, CPU)
    assert np.array_equal(one, three)


def test_positions_are_interpolated_with_the_hubs_offset():
    """Bicubic interpolation reproduces linear functions within 0.05, which shows positions."""
    place = torch.arange(37.0)
    rows, columns = place[:, None].expand(37, 37), place.expand(37, 37)
    grid = torch.stack([rows, columns], dim=-1).flatten(0, 1)[None]
    token = torch.full((1, 1, 2), -7.0)
    found = hub_positions(torch.cat([token, grid], dim=1))
    assert found.shape == (1, 257, 2) and torch.equal(found[:, :1], token)
    rows, columns = found[0, 1:].unflatten(0, (16, 16)).unbind(dim=-1)
    hub, plain = ((13 + 0.5) * 37 / side - 0.5 for side in (16.1, 16))
    assert plain - hub > 0.15
    assert rows[13, 5] == pytest.approx(hub, abs=0.05)
    assert columns[5, 13] == pytest.approx(hub, abs=0.05)


def test_networks_of_37_by_37_patches_are_taken(weights, tmp_path):
    tensors = load_file(weights)
    tensors[dinov2.POSITIONS] = torch.randn(1, 1 + 37 * 37, 384)
    save_file(tensors, tmp_path / "large.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    features, _ = extract(opened(tmp_path / "large.safetensors"), [images], 1, 1, CPU)
    assert features.shape == (1, 384)


@pytest.mark.parametrize("change", ["missing", "unexpected", "of another shape", "no tensors"])
def test_a_file_of_another_network_is_refused(weights, tmp_path, change):
    tensors, path = load_file(weights), tmp_path / "other.safetensors"
    if change == "missing":
        del tensors["layernorm.weight"]
    elif change == "unexpected":
        tensors["decoder.weight"] = torch.zeros(3)
    elif change == "of another shape":
        tensors["layernorm.weight"] = torch.zeros(3)
    save_file(tensors, path)
    if change == "no tensors":
        path.write_text("hello")
    with pytest.raises(UserError, match="is not the DINOv2 network vit-s-14") as raised:
        opened(path)
    assert "\n" not in str(raised.value)


def test_a_file_of_another_sha256_is_refused_before_it_is_opened(weights, monkeypatch):
    monkeypatch.setattr(dinov2, "load_safetensors", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(UserError, match="it was not opened"):
        opened(weights, weights_sha256="0" * 64)


def test_the_architectures_have_the_dimensions_that_the_config_knows():
    assert {name: built.width for name, built in ARCHITECTURES.items()} == DINOV2_DIMENSIONS


def test_only_dinov2_features_import_transformers():
    program = (
        "import sys, ddpm_bench.scoring.score_samples; sys.exit('transformers' in sys.modules)"
    )
    scripts = REPOSITORY / "workflow" / "scripts"
    ended = subprocess.run([sys.executable, "-c", program], cwd=scripts, check=False)
    assert ended.returncode == 0
