"""Stages of a pipeline are the model, cut where it costs least."""

import itertools
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_bench.config.benchmark import Albert, CellMeasuring, Resnet
from ddpm_bench.config.networks import Unet, Unet2d
from ddpm_bench.models.fast_layers import compute_for_cpu, in_channels_last
from ddpm_bench.planning.benchmark_cells import UnsupportedError
from ddpm_bench.throughput.strategies.pipeline_stages import balanced, pipeline_stages
from ddpm_bench.throughput.workloads.build import build_workload
from ddpm_bench.throughput.workloads.workload import Workload

UNET = Unet(name="unet", dim=8, dim_mults=(1, 2), attn_heads=2, attn_dim_head=8)
UNET2D = Unet2d(name="unet2d", block_out_channels=(8, 16), norm_num_groups=4)
NETWORKS = {
    "resnet18": Resnet(name="resnet18"),
    "unet": UNET,
    "unet of one level": UNET.model_copy(update={"dim_mults": (1,)}),
    "unet that sees estimates": UNET.model_copy(update={"self_condition": True}),
    "unet2d": UNET2D,
    "unet2d that sees estimates": UNET2D.model_copy(
        update={"self_condition": True, "attention_levels": (0, 1), "layers_per_block": 1}
    ),
    "unet2d without attention": UNET2D.model_copy(update={"attention_levels": ()}),
}


def sequential(*layers: nn.Module, inputs: torch.Tensor | None = None) -> Workload:
    given = torch.randn(4, 3, 8, 8) if inputs is None else inputs
    return Workload(nn.Sequential(*layers), (given,), torch.tensor([0, 1, 0, 1]), F.cross_entropy)


def own() -> Workload:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True), nn.Conv2d(5, 5, 1))
    return sequential(
        nn.Dropout(0.0), nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), inner, nn.Flatten(),
        nn.Linear(80, 6), nn.Tanh(), nn.Linear(6, 2), nn.LogSoftmax(1),
    )  # fmt: skip


def built(name: str) -> Workload:
    if name == "own":
        return own()
    return build_workload(NETWORKS[name], CellMeasuring(image_size=16, classes=5), 4)


def gradients(workload: Workload, output: torch.Tensor) -> list[torch.Tensor]:
    loss = workload.loss(output, workload.targets)
    return list(torch.autograd.grad(loss, list(workload.model.parameters())))


def in_turn(stages: list[nn.Module], inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Run stages one after the other; check that torch's stages can send what passes between."""
    state = inputs
    for stage in stages:
        state = stage(*state)
        state = (state,) if isinstance(state, torch.Tensor) else state
        if stage is not stages[-1]:
            assert all(item.is_floating_point() and item.requires_grad for item in state)
            assert all(item.is_contiguous() for item in state)
            assert len({item.data_ptr() for item in state}) == len(state)  # nothing is sent twice
    (output,) = state
    return output


@pytest.mark.parametrize("layout", ["as built", "channels last"])
@pytest.mark.parametrize("name", [*NETWORKS, "own"])
def test_stages_in_turn_are_the_model_in_values_and_gradients(name, layout):
    workload = built(name)
    if layout == "channels last":
        in_channels_last(compute_for_cpu(workload.model))
    output = workload.model(*workload.inputs)
    expected = gradients(workload, output)
    for count in (1, 2, 3, 4):
        stages = pipeline_stages(workload, count)
        assert len(stages) == count
        held = [[id(item) for item in stage.parameters()] for stage in stages]
        assert all(held)  # an optimiser needs some
        every = [id(item) for item in workload.model.parameters()]
        assert sorted(itertools.chain(*held)) == sorted(every)
        value = in_turn(stages, workload.inputs)
        torch.testing.assert_close(value, output, rtol=1e-5, atol=1e-5)
        for ours, theirs in zip(gradients(workload, value), expected, strict=True):
            scale = theirs.abs().max().item()
            torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5 * scale + 1e-8)


@pytest.mark.parametrize("name", ["resnet18", "unet", "own"])
def test_gradients_that_go_back_between_stages_are_dense(name):
    workload = built(name)
    in_channels_last(workload.model)
    first, second = pipeline_stages(workload, 2)
    sent = first(*workload.inputs)
    sent = (sent,) if isinstance(sent, torch.Tensor) else sent
    received = [item.detach().requires_grad_() for item in sent]
    loss = workload.loss(second(*received), workload.targets)
    assert all(item.is_contiguous() for item in torch.autograd.grad(loss, received))


def test_cutting_leaves_running_statistics_modes_and_the_generator():
    workload = build_workload(NETWORKS["resnet18"], CellMeasuring(), 4)
    workload.model.bn1.eval()
    before = [item.clone() for item in workload.model.buffers()]
    state = torch.get_rng_state()
    pipeline_stages(workload, 2)
    assert all(map(torch.equal, before, workload.model.buffers()))
    assert workload.model.training and not workload.model.bn1.training
    assert torch.equal(torch.get_rng_state(), state)


def test_the_dearest_part_is_as_cheap_as_in_any_other_partition():
    draw = random.Random(0)
    for count in (1, 2, 3, 4):
        costs = tuple(draw.choice((0, 1, 5, draw.randrange(30))) for _ in range(8))
        cuts = itertools.combinations(range(1, len(costs)), count - 1)
        best = min(
            max(sum(costs[a:b]) for a, b in itertools.pairwise((0, *cut, len(costs))))
            for cut in cuts
        )
        sizes = balanced(costs, count)
        assert len(sizes) == count and sum(sizes) == len(costs) and min(sizes) > 0
        ends = list(itertools.accumulate(sizes, initial=0))
        assert max(sum(costs[a:b]) for a, b in itertools.pairwise(ends)) == best


def test_the_dear_layers_decide_where_a_model_is_cut():
    wide = [nn.Linear(64, 64) for _ in range(2)]
    narrow = [nn.Linear(64, 2), *(nn.Linear(2, 2) for _ in range(4))]
    workload = sequential(*wide, *narrow, inputs=torch.randn(4, 64))
    first, second = pipeline_stages(workload, 2)
    assert list(first.pieces) == wide[:1] and list(second.pieces) == [wide[1], *narrow]


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class Skipping(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + x


def replaced(*layers: nn.Module) -> nn.Sequential:
    model = nn.Sequential(*layers)
    model.forward = lambda x: layers[0](x) + x
    return model


def test_what_no_cut_divides_says_why():
    albert = Albert(name="albert", hidden_size=8, intermediate_size=8, layers=3, attention_heads=2)
    layer, x = nn.Linear(4, 4), torch.randn(4, 4)
    skipping = Workload(Skipping(layer, nn.Linear(4, 4)), (x,), x, F.mse_loss)
    changed = Workload(replaced(layer, nn.Linear(4, 4)), (x,), x, F.mse_loss)
    for workload, count, reason in (
        (
            build_workload(albert, CellMeasuring(), 2),
            2,
            "how to cut a MaskedLanguageModel into stages",
        ),
        (skipping, 2, "how to cut a Skipping into stages is not known.*Sequential"),
        (changed, 2, "how to cut a Sequential into stages is not known"),
        (sequential(layer, nn.ReLU(), layer, inputs=x), 2, "used in stages 1 and 2"),
        (sequential(layer, Pair(), nn.Linear(4, 4), inputs=x), 2, "a Pair .* no single tensor"),
        (sequential(nn.ReLU(), layer, nn.Linear(4, 4), inputs=x), 3, "into 2 at most: set proc"),
    ):
        with pytest.raises(UnsupportedError, match=reason):
            pipeline_stages(workload, count)
