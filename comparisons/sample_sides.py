"""Sides of the sampling comparison: this project's sampler, and GaussianDiffusion.sample.

Each samples batches of images without end, with a gate before each batch. The networks have the
same weights.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))
# No torch here: each side imports it in its process, and the comparing process does not need it.
from turns import Gate, Side, serve_side, watching_kernels


@dataclass(frozen=True)
class Sampling:
    """Work of all sides of the sampling comparison."""

    folder: str
    image_size: int
    batch_size: int
    dim: int
    dim_mults: tuple[int, ...]
    sampling_steps: int
    threads: int
    device: str


def our_stage(work: Sampling, precision: str):
    """Return the keys of the sampling stage."""
    from ddpm_bench.config.sampling import SampleStage

    drawing = {"scheduler": "ddim", "steps": work.sampling_steps, "batch_size": work.batch_size}
    keys = {
        "version": 1,
        "image_size": work.image_size,
        "channels": 3,
        "model": {"name": "unet", "dim": work.dim, "dim_mults": work.dim_mults},
        "drawing": {**drawing, "precision": precision},
    }
    return SampleStage.model_validate(keys)


def device_of(work: Sampling):
    """Set the number of threads and return the torch device."""
    import torch

    from ddpm_bench.machine.compute_device import gpu_is_usable

    torch.set_num_threads(work.threads)
    if work.device != "auto":
        return torch.device(work.device)
    return torch.device("cuda" if gpu_is_usable() else "cpu")


def draw_ours(work: Sampling, side: Side, gate: Gate) -> None:
    """Sample batches as a job of the workflow does, from noise to bytes."""
    from ddpm_bench.machine.compute_device import round_to_tf32
    from ddpm_bench.models.denoiser import build_model
    from ddpm_bench.sampling.sampler import Sampler, device_name

    stage, device = our_stage(work, side.precision), device_of(work)
    round_to_tf32(side.precision == "tf32")
    sampler = Sampler(stage, build_model(stage.model, stage.channels).state_dict(), device)
    gate.about = about(sampler._model, device_name(device))
    gate.parts = parts_of_drawing
    drawn = 0
    while True:
        gate.before_step()
        sampler.draw(drawn, work.batch_size)
        drawn += work.batch_size


@contextmanager
def parts_of_drawing() -> Iterator[dict[str, float]]:
    """Measure the seconds in which noise is drawn, and those of kernels on a GPU, in the block."""
    import torch

    seconds = {"noise_seconds": 0.0}
    draw = torch.randn

    def timed(*arguments, **keywords) -> torch.Tensor:
        began = time.perf_counter()
        noise = draw(*arguments, **keywords)
        seconds["noise_seconds"] += time.perf_counter() - began
        return noise

    with mock.patch.object(torch, "randn", timed), watching_kernels() as kernels:
        yield seconds
    seconds.update(kernels)


def draw_with_the_package(work: Sampling, side: Side, gate: Gate) -> None:
    """Sample batches with denoising-diffusion-pytorch as its users call it, with the same objective
    and schedule."""
    import torch
    from denoising_diffusion_pytorch import GaussianDiffusion

    from ddpm_bench.models.denoiser import build_model
    from ddpm_bench.sampling.sampler import device_name

    stage, device = our_stage(work, side.precision), device_of(work)
    diffusion = GaussianDiffusion(
        build_model(stage.model, stage.channels),
        image_size=work.image_size,
        timesteps=stage.diffusion.timesteps,
        sampling_timesteps=work.sampling_steps,
        objective=stage.diffusion.objective,
        beta_schedule=stage.diffusion.beta_schedule,
    )
    diffusion.to(device).eval()
    gate.about = about(diffusion.model, device_name(device))
    bf16 = torch.autocast(device.type, torch.bfloat16, enabled=side.precision == "bf16")
    while True:
        gate.before_step()
        with bf16:
            diffusion.sample(batch_size=work.batch_size).cpu()


def about(network, device: str) -> dict[str, object]:
    """Return the size of the network and the device, for the answers of a gate."""
    return {"parameters": sum(value.numel() for value in network.parameters()), "device": device}


PROGRAMS: dict[str, Callable] = {"ours": draw_ours, "package": draw_with_the_package}


if __name__ == "__main__":
    serve_side(sys.argv[1], Sampling, PROGRAMS)
