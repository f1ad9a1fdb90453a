"""Processes that share a training: gradients of compiled networks, and silent processes."""

import functools
import itertools
import math
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from functorch.compile import make_boxed_func
from small_trainer import difference, random_images, small_stage, small_trainer, weights_after
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel
from training_runs import COUNTED, Run, write_dataset

from ddpm_bench.training import objectives


class Wide(nn.Module):
    """A denoising network of few operations, with more gradients than DDP's first bucket holds."""

    def __init__(self) -> None:
        super().__init__()
        widths = (6, 256, 256, 256, 3)
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in pairs)

    def forward(
        self, images: torch.Tensor, times: torch.Tensor, estimate: torch.Tensor | None = None
    ) -> torch.Tensor:
        x = torch.cat((images, torch.zeros_like(images) if estimate is None else estimate), dim=1)
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


@pytest.fixture()
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings train a wide network."""

    def built(*_) -> nn.Module:
        torch.manual_seed(0)
        return Wide()

    monkeypatch.setattr(objectives, "build_model", built)


@pytest.fixture()
def as_one_of_several(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process group of this process, and networks wrapped as accelerate does for several."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    wrapped = functools.partial(DistributedDataParallel, broadcast_buffers=False)
    monkeypatch.setattr(Accelerator, "prepare_model", lambda _, network: wrapped(network))
    monkeypatch.setattr(Accelerator, "no_sync", lambda _, model: model.no_sync())
    yield
    dist.destroy_process_group()


@pytest.fixture()
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Events of trainings: each compiled part of a backward pass as it begins, and what is sent.

    Parts are run as they were traced, without code being generated.
    """
    seen: list[str] = []

    def forward(graph: torch.fx.GraphModule, _) -> object:
        return make_boxed_func(graph.forward)

    def backward(graph: torch.fx.GraphModule, _) -> object:
        def run(*inputs):
            seen.append("backward")
            return graph.forward(*inputs)

        return make_boxed_func(run)

    traced = aot_autograd(fw_compiler=forward, bw_compiler=backward)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=traced))
    yield seen
    torch._dynamo.reset()


STAGE = small_stage(
    {"name": "unet", "dim": 8, "dim_mults": [1, 2], "self_condition": True}, learning_rate=1e-4
)
IMAGES = random_images(channels=3)


def test_gradients_of_a_compiled_network_travel_during_the_backward_pass(
    tmp_path, wide, as_one_of_several, events
):
    """Torch cuts the graph where a bucket is full (DDPOptimizer), since DDP calls the network."""
    trainer = small_trainer(tmp_path, STAGE, IMAGES, compile=True, micro_batch_size=4)

    def sent(_, bucket):
        events.append("sent")
        return allreduce_hook(None, bucket)

    trainer.model.register_comm_hook(None, sent)
    for step in range(4):  # some with an estimate
        events.clear()
        trainer.train_one_step()
        last = len(events) - events[::-1].index("backward")
        assert events.count("sent") == (1 if step == 0 else 2)  # DDP learns its order first
        assert "sent" in events[:last] or step == 0
        first = events.index("sent")
        assert events[:first].count("backward") > events.count("backward") // 2, "micro-batches"


def test_a_compiled_network_that_ddp_wraps_trains_as_one_that_is_not(
    tmp_path, wide, as_one_of_several, events, monkeypatch
):
    compiled = small_trainer(tmp_path / "compiled", STAGE, IMAGES, compile=True, micro_batch_size=4)
    ours = weights_after(compiled, 3)
    monkeypatch.setattr(Accelerator, "prepare_model", lambda _, network: network)
    theirs = weights_after(small_trainer(tmp_path / "alone", STAGE, IMAGES), 3)
    assert list(ours) == [name for name, _ in Wide().named_parameters()]
    assert not math.isnan(difference(ours, theirs)) and difference(ours, theirs) < 1e-5
    assert events, "it was compiled"


def test_a_process_that_is_silent_ends_the_training_with_a_remedy(tmp_path):
    write_dataset(tmp_path)
    run = Run(tmp_path, "silent", how={"gpus": 2}, program=COUNTED)
    run.environment = {"SILENT_AFTER": "3"}
    process = run.start(0, 1000)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 2, printed
    assert "error: another process of this training has not answered for at least " in printed
    assert "the same command goes on" in printed and "run.gpus: 1" in printed
    assert "Traceback" not in printed
