"""Work of the CPU in a solver's steps: noise, casts, and no waiting for a GPU.

Tensors on "meta" stand in for those of a GPU: they have no values, so that waiting for one is an
operation that can be seen.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.networks import Unet
from ddpm_bench.config.sampling import Drawing, SampleStage
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.models.diffusion import noise_schedule
from ddpm_bench.sampling.sampler import Sampler
from ddpm_bench.sampling.solvers import (
    ddpm_scheduler,
    fresh_noise,
    sigma_scheduler,
    solve,
    stepped,
    visited_levels,
)

BETAS = noise_schedule(Diffusion()).numpy()
CPU = torch.device("cpu")


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(3)]


class Waits(TorchDispatchMode):
    """Names of the operations that wait for the device, or read a value of it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, made)) if isinstance(leaf, torch.Tensor)]
        on_both = {tensor.device.type for tensor in tensors} == {"cpu", "meta"}
        blocking = "copy" in str(operation) and not (kwargs or {}).get("non_blocking", False)
        reads = "_local_scalar_dense" in str(operation) and tensors[0].device.type == "meta"
        if (on_both and blocking) or reads:
            self.names.append(str(operation))
        return made


# Not unipc: that of diffusers makes and solves its small equations on the device.
@pytest.mark.parametrize(
    "drawing",
    [
        {"scheduler": "ddpm"},
        {"scheduler": "ddim"},
        {"scheduler": "ddim", "eta": 1.0},
        {"scheduler": "dpmsolver++"},
        {"scheduler": "euler"},
        {"scheduler": "euler-ancestral"},
        {"scheduler": "heun"},
    ],
)
def test_no_step_waits_for_the_device(drawing):
    noise = torch.empty(3, 3, 4, 4, device="meta")
    keys = Drawing(steps=12, **drawing)
    steps = solve(keys, BETAS, lambda images, _: images * 0.5, noise, generators())
    with Waits() as seen:
        assert sum(1 for _ in steps) == 12
    assert seen.names == []


def test_noise_is_that_of_each_images_own_generator():
    drawn = fresh_noise((3, 2, 4, 4), generators(), CPU)
    alone = [torch.randn(2, 4, 4, generator=own) for own in generators()]
    assert torch.equal(drawn, torch.stack(alone))
    assert drawn.is_contiguous()


@pytest.mark.parametrize("name", ["ddpm", "euler-ancestral"])
def test_schedulers_step_as_with_their_own_noise(name):
    levels = visited_levels(Drawing(scheduler=name, steps=10), BETAS)

    def made():
        if name == "ddpm":
            return ddpm_scheduler(levels, BETAS, "fixed-small")
        return sigma_scheduler(Drawing(scheduler=name, steps=10), levels, len(BETAS))

    images, given = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(9))
    ours, theirs = made(), made()
    time = theirs.timesteps[0]
    for scheduler in (ours, theirs):
        scheduler.scale_model_input(images, time)
    expected = theirs.step(given, time, images, generator=generators()).prev_sample
    assert torch.equal(stepped(ours, given, time, images, generators()), expected)


def test_weights_are_cast_in_the_first_step_only():
    network = Unet(name="unet", dim=8, dim_mults=(1,))
    drawing = Drawing(scheduler="ddim", steps=3, batch_size=2, precision="bf16")
    stage = SampleStage(version=1, image_size=4, channels=1, model=network, drawing=drawing)
    model = build_model(network, 1)
    steps = Sampler(stage, model.state_dict(), CPU).denoise(0, 2)
    casts = []
    for _ in range(3):
        with torch.profiler.profile() as watched:
            next(steps)
        casts.append(sum(event.name == "aten::_to_copy" for event in watched.events()))
    weights = sum(isinstance(part, torch.nn.Conv2d | torch.nn.Linear) for part in model.modules())
    assert casts[1] == casts[2]
    assert casts[0] >= casts[1] + weights, "and more: biases"
    assert not torch.is_autocast_enabled("cpu"), "between two steps"
