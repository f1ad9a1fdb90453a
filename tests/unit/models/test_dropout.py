"""Dropout: masks that are a pure function of seed, step, layer and image, and where they act."""

import copy

import pytest
import torch
from pydantic import TypeAdapter
from small_trainer import (
    UNET,
    UNET2D,
    difference,
    run_to_end,
    small_stage,
    small_trainer,
    weights_after,
)
from training_runs import Run, relative_difference, write_dataset

from ddpm_bench.config.networks import Model
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.models.dropout import (
    IMAGES_PER_DRAW,
    Dropout,
    DropoutPosition,
    dropout_position,
    kept_elements,
)
from ddpm_bench.models.fast_layers import FORWARD_DRAWING, compute_for_cpu

NETWORKS = pytest.mark.parametrize("keys", [UNET, UNET2D], ids=["unet", "unet2d"])
CPU = torch.device("cpu")
SIZES = [6, 5, 3]  # height, width, channels


def kept(seed=0, step=0, layer=0, first=0, count=8, rate=0.1) -> torch.Tensor:
    place = torch.tensor([seed, step, first])
    return kept_elements(place, layer, [count, *SIZES], rate, CPU)


def build(keys: dict, **more) -> torch.nn.Module:
    return build_model(TypeAdapter(Model).validate_python({**keys, **more}), 1)


def dropping(keys: dict) -> dict:
    return {**keys, "dropout": 0.3}


def inputs(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, 8, 8, generator=generator)
    return images, torch.randint(1000, (count,), generator=generator)


@pytest.mark.parametrize(("first", "count"), [(0, 1), (5, 40), (IMAGES_PER_DRAW, 3), (70, 10)])
def test_the_mask_of_a_part_is_the_part_of_the_batchs_mask(first, count):
    whole = kept(count=80)
    assert torch.equal(kept(first=first, count=count), whole[first : first + count])


def test_each_seed_step_layer_and_image_has_a_mask_of_its_own():
    usual = kept(count=2)
    assert torch.equal(usual, kept(count=2))
    assert not torch.equal(usual[0], usual[1])
    for other in ({"seed": 1}, {"step": 1}, {"layer": 1}, {"first": IMAGES_PER_DRAW}):
        assert not torch.equal(usual, kept(count=2, **other)), other


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_elements_are_dropped_at_the_rate_and_the_mean_stays(rate):
    count = 4000
    mask = kept(count=count, rate=rate).double()
    elements = mask.numel()
    deviation = (rate * (1 - rate)) ** 0.5
    assert abs(mask.mean().item() - (1 - rate)) < 4 * deviation / elements**0.5
    # Neighbours are dropped independently: along images, rows, columns and channels.
    centred = mask - (1 - rate)
    for axis in range(4):
        size = mask.shape[axis]
        pairs = centred.narrow(axis, 0, size - 1) * centred.narrow(axis, 1, size - 1)
        assert abs(pairs.mean().item()) < 4 * deviation**2 / pairs.numel() ** 0.5
    layer = Dropout(rate, 0, DropoutPosition())
    values = layer(torch.ones(count, 3, 6, 5))
    assert set(values.unique().tolist()) == {0.0, torch.tensor(1 / (1 - rate)).item()}
    assert values.mean().item() == pytest.approx(1, abs=4 * deviation / elements**0.5 / (1 - rate))


@NETWORKS
def test_a_network_drops_in_each_residual_block_and_in_training_only(keys):
    model = build(dropping(keys))
    layers = [item for item in model.modules() if isinstance(item, Dropout)]
    blocks = [item for item in model.modules() if type(item).__name__.startswith("ResnetBlock")]
    assert [layer.layer for layer in layers] == list(range(len(blocks))) and len(blocks) > 5
    images, times = inputs()
    with torch.no_grad():
        trained = model(images, times)
        evaluated = model.eval()(images, times)
        plain = build(keys)(images, times)
    assert torch.equal(evaluated, plain)
    assert not torch.allclose(trained, plain, rtol=0.01)


@NETWORKS
def test_without_dropout_a_network_is_what_it_was(keys):
    model = build(keys)
    assert not any(isinstance(item, Dropout) for item in model.modules())
    images, times = inputs()
    assert torch.equal(model(images, times), model.eval()(images, times))


def test_blocks_computed_for_cpus_drop_what_the_packages_drop():
    theirs = build(dropping(UNET))
    ours = compute_for_cpu(copy.deepcopy(theirs))
    images, times = inputs()
    results = []
    for model in (theirs, ours):
        dropout_position(model).seek(7, 11, 3)
        results.append(model(images, times))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)
    drawing = compute_for_cpu(build(dropping(UNET)).eval(), FORWARD_DRAWING)
    with torch.inference_mode():
        evaluated = build(UNET)(images, times)
        torch.testing.assert_close(drawing(images, times), evaluated, rtol=1e-4, atol=1e-5)


HOW = {"micro-batches": {"micro_batch_size": 2}, "checkpoints": {"activation_checkpointing": True}}


@NETWORKS
@pytest.mark.parametrize("how", HOW)
def test_how_training_is_run_changes_no_mask(tmp_path, keys, how):
    stage, plain = (small_stage(one, learning_rate=1e-4) for one in (dropping(keys), keys))
    usual = weights_after(small_trainer(tmp_path / "usual", stage), 3)
    other = weights_after(small_trainer(tmp_path / "other", stage, **HOW[how]), 3)
    without = weights_after(small_trainer(tmp_path / "without", plain), 3)
    assert difference(other, usual) < 1e-6
    assert difference(without, usual) > 1e-4


def test_self_conditioned_training_drops_in_both_passes(tmp_path):
    stage = small_stage({**dropping(UNET), "self_condition": True}, learning_rate=1e-4)
    usual = weights_after(small_trainer(tmp_path / "usual", stage), 4)
    parts = weights_after(small_trainer(tmp_path / "parts", stage, micro_batch_size=4), 4)
    assert difference(parts, usual) < 1e-6


def test_two_jobs_leave_the_bytes_of_one(tmp_path):
    stage = small_stage(dropping(UNET), precision="bf16")
    whole = run_to_end(tmp_path / "whole", stage, last=20)
    run_to_end(tmp_path / "halves", stage, last=10)
    halves = run_to_end(tmp_path / "halves", stage, last=20)
    assert whole.checkpoints.file(20).read_bytes() == halves.checkpoints.file(20).read_bytes()


def test_two_processes_drop_what_one_does(tmp_path):
    write_dataset(tmp_path)
    keys = {"train": {"learning_rate": 1e-4}, "model": dropping(UNET)}
    one, two = Run(tmp_path, "one", **keys), Run(tmp_path, "two", how={"gpus": 2}, **keys)
    one.complete_here(0, 20)
    two.complete(0, 20)
    assert 0 < relative_difference(two.weights(20), one.weights(20)) < 1e-5


def test_compiled_code_drops_the_same_and_is_compiled_once_for_all_steps():
    place = DropoutPosition()
    layers = torch.nn.Sequential(*(Dropout(0.3, number, place) for number in range(3)))
    compiled = torch.compile(layers, fullgraph=True, backend="aot_eager")
    images = torch.randn(4, 3, 6, 5, requires_grad=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in range(3):
            place.seek(0, step, 2)
            results = []
            for model in (layers, compiled):
                (gradient,) = torch.autograd.grad(model(images).square().sum(), images)
                results.append(gradient)
            assert torch.equal(*results)
