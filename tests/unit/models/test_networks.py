"""Networks and their options: first weights, self-conditioning, recomputed activations."""

import pytest
import torch
from pydantic import TypeAdapter
from small_trainer import UNET, UNET2D
from torch import nn

from ddpm_bench.config.networks import Model, Unet2d
from ddpm_bench.models.denoiser import build_model, recompute_activations

NETWORKS = pytest.mark.parametrize("keys", [UNET, UNET2D], ids=["unet", "unet2d"])


def build(keys: dict, channels: int = 1, **more) -> nn.Module:
    return build_model(TypeAdapter(Model).validate_python({**keys, **more}), channels)


def inputs(channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, channels, 8, 8, generator=generator), torch.tensor([0, 10, 500, 999])


@NETWORKS
@pytest.mark.parametrize("channels", [1, 3])
def test_a_prediction_has_the_shape_of_the_image(keys, channels):
    images, times = inputs(channels)
    assert build(keys, channels)(images, times).shape == images.shape


@NETWORKS
def test_with_self_conditioning_no_estimate_is_an_estimate_of_zeros(keys):
    model = build(keys, self_condition=True)
    images, times = inputs()
    alone = model(images, times)
    torch.testing.assert_close(model(images, times, torch.zeros_like(images)), alone)
    assert not torch.allclose(model(images, times, torch.ones_like(images)), alone)


@NETWORKS
def test_zero_residual_lets_every_residual_branch_begin_as_zero(keys):
    model = build(keys, zero_residual=True)
    branches = []

    def note(module, given, result):
        (images, *_) = given
        shortcut = getattr(module, "res_conv", None) or getattr(module, "conv_shortcut", None)
        branches.append(result - (shortcut(images) if shortcut is not None else images))

    for module in model.modules():
        if type(module).__name__ in ("ResnetBlock", "ResnetBlock2D"):
            module.register_forward_hook(note)
    images, times = inputs()
    prediction = model(images, times)
    assert len(branches) > 5
    assert all(torch.count_nonzero(branch) == 0 for branch in branches)
    # Gradients reach what was set to zero, and are of a usual size.
    (prediction**2).mean().backward()
    gradients = [item.grad for item in model.parameters() if item.grad is not None]
    assert 1e-4 < float(torch.nn.utils.get_total_norm(gradients)) < 1e4
    last = [value for name, value in model.named_parameters() if name.endswith("block2.norm.g")]
    last += [value for name, value in model.named_parameters() if name.endswith("conv2.weight")]
    assert any(torch.count_nonzero(value.grad) > 0 for value in last)


@NETWORKS
def test_zero_residual_changes_nothing_else(keys):
    plain, zeroed = build(keys).state_dict(), build(keys, zero_residual=True).state_dict()
    changed = [name for name in plain if not torch.equal(plain[name], zeroed[name])]
    assert changed and all(torch.count_nonzero(zeroed[name]) == 0 for name in changed)


@NETWORKS
def test_orthogonal_weights_are_orthogonal_and_drawn_from_the_seed(keys):
    model = build(keys, init="orthogonal")
    layers = [item for item in model.modules() if isinstance(item, nn.Conv2d | nn.Linear)]
    assert len(layers) > 10
    for layer in layers:
        matrix = layer.weight.detach().flatten(1).double()
        if matrix.shape[0] > matrix.shape[1]:
            matrix = matrix.T
        torch.testing.assert_close(
            matrix @ matrix.T, torch.eye(len(matrix), dtype=torch.float64), rtol=0, atol=1e-5
        )
    again = build(keys, init="orthogonal").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


@NETWORKS
def test_xavier_weights_have_their_variance_and_biases_are_zero(keys):
    """Glorot & Bengio 2010, eq. 16: uniform in +-sqrt(6 / (fan_in + fan_out))."""
    layers = [
        item
        for item in build(keys, init="xavier").modules()
        if isinstance(item, nn.Conv2d | nn.Linear)
    ]
    shares = []
    for layer in layers:
        outputs, inputs, *kernel = layer.weight.shape
        places = kernel[0] * kernel[1] if kernel else 1
        bound = (6 / ((inputs + outputs) * places)) ** 0.5
        shares.append((layer.weight.detach() / bound).flatten())
        assert layer.bias is None or torch.count_nonzero(layer.bias) == 0
    drawn = torch.cat(shares)
    assert 0.99 < float(drawn.abs().max()) <= 1
    assert float((drawn**2).mean()) == pytest.approx(1 / 3, rel=0.05)


@NETWORKS
def test_zero_output_predicts_zero_and_changes_nothing_else(keys):
    plain, zeroed = build(keys), build(keys, zero_output=True)
    assert torch.count_nonzero(zeroed(*inputs())) == 0
    ours = zeroed.state_dict()
    changed = [name for name, old in plain.state_dict().items() if not torch.equal(old, ours[name])]
    assert len(changed) == 2, "a weight and a bias"


@NETWORKS
def test_recomputed_activations_give_the_same_gradients_and_keep_less(keys):
    kept, gradients = [], []
    for recompute in (False, True):
        model = build(keys)
        if recompute:
            recompute_activations(model)
        sizes: list[int] = []

        def save(tensor, sizes=sizes):
            sizes.append(tensor.nbytes)
            return tensor

        images, times = inputs()
        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            loss = (model(images, times) ** 2).mean()
        kept.append(sum(sizes))
        loss.backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    assert kept[1] < kept[0] / 2
    for name, gradient in gradients[0].items():
        assert gradient is None or torch.equal(gradient, gradients[1][name]), name


def test_attention_stands_on_the_levels_that_are_named():
    model = build(UNET2D, block_out_channels=[8, 16, 16], attention_levels=[0, 2])
    assert [len(getattr(block, "attentions", [])) > 0 for block in model.down_blocks] == [
        True, False, True,
    ]  # fmt: skip
    assert [len(getattr(block, "attentions", [])) > 0 for block in model.up_blocks] == [
        True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"attention_levels": [2]}, "there are 2 levels, 0 to 1"),
        ({"norm_num_groups": 3}, "must be a multiple of norm_num_groups = 3"),
        ({"freq_shift": 2}, "0 or 1"),
        ({"downsample_padding": 2}, "0 or 1"),
        ({"norm_eps": 0}, "greater than 0"),
        (
            {"block_out_channels": [2, 4], "norm_num_groups": 1, "freq_shift": 1},
            "must begin with 4 or more, not 2",
        ),
        ({"attention_head_dim": 5}, "must be a multiple of attention_head_dim = 5"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(change, expected):
    with pytest.raises(ValueError, match=expected):
        Unet2d(**{**UNET2D, **change})
