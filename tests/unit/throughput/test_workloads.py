"""Workloads of the throughput benchmark: equal in every process, and trainable."""

import numpy as np
import pytest
import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard

from ddpm_bench.config.benchmark import Albert, CellMeasuring, Resnet
from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.networks import Unet, Unet2d
from ddpm_bench.models.diffusion import build_schedule, to_model_range
from ddpm_bench.models.fast_layers import FORWARD, compute_for_cpu
from ddpm_bench.throughput.workloads.build import MASKED, build_workload

MEASURING = CellMeasuring(image_size=16, channels=3, classes=7, seed=3)
UNET = Unet(name="unet", dim=8, dim_mults=(1, 2), attn_heads=2, attn_dim_head=8)
UNET2D = Unet2d(name="unet2d", block_out_channels=(8, 16), norm_num_groups=4)
ALBERT = Albert(
    name="albert",
    hidden_size=16,
    intermediate_size=32,
    layers=2,
    attention_heads=2,
    embedding_size=8,
    vocabulary=50,
    sequence_length=64,
)
NETWORKS = {
    "resnet18": Resnet(name="resnet18"),
    "unet": UNET,
    "unet that sees estimates": UNET.model_copy(update={"self_condition": True}),
    "unet2d": UNET2D,
    "albert": ALBERT,
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
every_denoiser = pytest.mark.parametrize("network", [UNET, UNET2D], ids=["unet", "unet2d"])


def everything(workload) -> dict[str, torch.Tensor]:
    tensors = {f"input {index}": item for index, item in enumerate(workload.inputs)}
    return {**workload.model.state_dict(), **tensors, "targets": workload.targets}


def loss_of(workload) -> torch.Tensor:
    return workload.loss(workload.model(*workload.inputs), workload.targets)


@every_network
def test_the_seed_alone_decides_the_bytes_and_the_global_generator_is_left(network):
    built = []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        built.append(everything(build_workload(network, MEASURING, 6)))
        assert torch.equal(torch.get_rng_state(), before)
    assert built[0].keys() == built[1].keys()
    assert all(torch.equal(value, built[1][name]) for name, value in built[0].items())
    other = everything(build_workload(network, MEASURING.model_copy(update={"seed": 4}), 6))
    drawn = [name for name, value in built[0].items() if value.unique().numel() > 1]
    assert {"input 0", "targets"} < set(drawn)
    assert not any(torch.equal(built[0][name], other[name]) for name in drawn)


@every_network
def test_the_loss_of_the_batch_is_the_mean_over_its_shares(network):
    workload = build_workload(network, MEASURING, 6)
    workload.model.eval()  # batch normalisation sees its own share in training
    with torch.no_grad():
        shares = [loss_of(workload.share(start, start + 2)).item() for start in (0, 2, 4)]
        assert np.ptp(shares) > 1e-4
        assert loss_of(workload).item() == pytest.approx(np.mean(shares), rel=1e-5)


@every_network
def test_training_reaches_every_parameter_and_lowers_the_loss(network):
    workload = build_workload(network, MEASURING, 6)
    optimizer = torch.optim.Adam(workload.model.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = loss_of(workload)
        loss.backward()
        without = [name for name, item in workload.model.named_parameters() if item.grad is None]
        assert not without  # DistributedDataParallel would wait for these
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]


@every_network
def test_shards_are_blocks_of_the_model_that_do_not_overlap(network):
    workload = build_workload(network, MEASURING, 2)
    of_model = {id(item): item.numel() for item in workload.model.parameters()}
    of_shards = [item for block in workload.shards for item in block.parameters()]
    assert len({id(item) for item in of_shards}) == len(of_shards)
    assert {id(item) for item in of_shards} <= of_model.keys()
    if network is ALBERT:
        assert not of_shards  # one layer's weights, used again and again
    else:
        assert sum(item.numel() for item in of_shards) > 0.5 * sum(of_model.values())


def test_random_images_lie_in_the_models_range_in_channels_last():
    workload = build_workload(NETWORKS["resnet18"], MEASURING, 5)
    (images,) = workload.inputs
    assert images.shape == (5, 3, 16, 16) and images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert -1 <= images.min() < -0.98 and 0.98 < images.max() <= 1
    assert set(workload.targets.tolist()) <= set(range(7))
    assert workload.model(images).shape == (5, 7)


def test_images_of_a_dataset_come_over_again_and_decide_the_channels():
    levels = np.random.default_rng(0).integers(256, size=(3, 16, 16, 1), dtype=np.uint8)
    workload = build_workload(NETWORKS["resnet18"], MEASURING, 5, levels)
    expected = to_model_range(torch.from_numpy(levels[[0, 1, 2, 0, 1]]))
    assert torch.equal(workload.inputs[0], expected)
    assert workload.model(workload.inputs[0]).shape == (5, 7)


@every_denoiser
def test_denoisers_get_images_with_the_noise_that_they_are_to_find(network):
    levels = np.random.default_rng(0).integers(256, size=(4, 16, 16, 3), dtype=np.uint8)
    workload = build_workload(network, MEASURING, 4, levels)
    noised, times = workload.inputs
    schedule = build_schedule(Diffusion(beta_schedule="linear"), torch.device("cpu"))
    signal, spread = (
        values[times][:, None, None, None]
        for values in (schedule.sqrt_alphas_cumprod, schedule.sqrt_one_minus_alphas_cumprod)
    )
    images = to_model_range(torch.from_numpy(levels))
    torch.testing.assert_close(noised, signal * images + spread * workload.targets)
    assert len(set(times.tolist())) > 1
    assert 0.9 < workload.targets.std() < 1.1
    assert noised.is_contiguous(memory_format=torch.channels_last)


def test_some_tokens_are_masked_and_all_are_to_be_found():
    workload = build_workload(ALBERT, MEASURING, 32)
    (seen,), tokens = workload.inputs, workload.targets
    hidden = seen != tokens
    assert (seen[hidden] == ALBERT.vocabulary - 1).all()
    share = hidden.float().mean().item()
    assert share == pytest.approx(MASKED, abs=5 * (MASKED / hidden.numel()) ** 0.5 + 0.01)
    assert tokens.shape == (32, ALBERT.sequence_length)
    workload.model(seen)  # in training mode: no dropout
    assert loss_of(workload).item() == loss_of(workload).item()


def test_on_cpus_our_unet_is_computed_as_in_training_with_the_same_parameters():
    workload = build_workload(UNET, MEASURING, 2)
    expected = workload.model(*workload.inputs)
    parameters = list(workload.model.parameters())
    model = compute_for_cpu(workload.model)
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all("forward" in vars(item) for item in model.modules() if type(item) in FORWARD)
    torch.testing.assert_close(model(*workload.inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def world_of_one():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@every_denoiser
def test_a_sharded_denoiser_trains_as_the_whole(network, world_of_one):
    whole = build_workload(network, MEASURING, 4)
    compute_for_cpu(whole.model)
    sharded = build_workload(network, MEASURING, 4)
    compute_for_cpu(sharded.model)
    mesh = distributed.init_device_mesh("cpu", (1,))
    for block in (*sharded.shards, sharded.model):
        fully_shard(block, mesh=mesh)
    losses = []
    for workload in (whole, sharded):
        optimizer = torch.optim.SGD(workload.model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            loss = loss_of(workload)
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
