"""Sampler: draws the images of a set from a checkpoint.

Image i of a set depends on (weights, keys of the set, seed, i) alone: each image has a generator of
its own, and batches are cut at fixed positions and always computed whole, so any cut into jobs
gives the same bytes on the same hardware.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ddpm_bench.config.noise_levels import usable_timesteps
from ddpm_bench.config.sampling import SampleRun, SampleStage
from ddpm_bench.config.solver_limits import solver_misfits
from ddpm_bench.errors import UserError
from ddpm_bench.images.grid import spread
from ddpm_bench.machine.compute_device import compute_device
from ddpm_bench.machine.host import processor
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.models.diffusion import implied_image, noise_schedule, to_uint8
from ddpm_bench.models.fast_layers import FORWARD_DRAWING, compute_for_cpu, in_channels_last
from ddpm_bench.models.randomness import image_generator
from ddpm_bench.sampling.kept_batches import DrawnBatch, KeptBatches
from ddpm_bench.sampling.solvers import Estimate, Level, fresh_noise, solve
from ddpm_bench.training.manifests import load_checkpoint

if TYPE_CHECKING:
    from ddpm_bench.latents.encoding import Decoder


class Sampler:
    """Network of a checkpoint with the scheduler of a set.

    weights: the EMA parameters of a checkpoint, by name, on the CPU. decoder: turns latents into
    images if the model draws latents. Raises UserError if the set's solver is not stable for the
    process.
    """

    def __init__(
        self,
        stage: SampleStage,
        weights: dict[str, torch.Tensor],
        device: torch.device,
        decoder: "Decoder | None" = None,
    ) -> None:
        self.stage, self.device, self._decoder = stage, device, decoder
        self._latents = stage.latents()
        in_latents = self._latents is not None
        for misfit in solver_misfits(stage.drawing, stage.diffusion, in_latents):
            raise UserError(misfit)
        model = build_model(
            stage.model, self._latents.channels if self._latents else stage.channels
        )
        model.load_state_dict(weights)
        self._betas = noise_schedule(stage.diffusion).numpy()
        self._model = in_channels_last(model.to(device)).eval()
        if device.type == "cpu":
            compute_for_cpu(self._model, FORWARD_DRAWING)

    def draw(self, first: int, count: int) -> torch.Tensor:
        """Draw images first .. first + count - 1 of the set: uint8 [count, H, W, C]."""
        for images, _ in self.denoise(first, count):
            last = images
        return self.images(last)

    @torch.inference_mode()
    def images(self, drawn: torch.Tensor) -> torch.Tensor:
        """Convert what `denoise` yields to uint8 images [N, H, W, C] on the CPU.

        Latents are decoded.
        """
        return to_uint8(drawn if self._decoder is None else self._decoder.images(drawn)).cpu()

    @torch.no_grad()  # in inference mode autocast casts every weight anew in every step
    def denoise(self, first: int, count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the noisy images and the estimates of the clean ones after each solver step.

        Both are float32 [count, C, H, W], x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps, of images
        or of latents. The estimate is the last of the step. The last images are those that `draw`
        decodes, clips and rounds.
        """
        stage, seed = self.stage, self.stage.drawing.seed
        generators = [image_generator(seed, first + index) for index in range(count)]
        shape = (stage.channels, stage.image_size, stage.image_size)
        if self._latents is not None:
            shape = (self._latents.channels, self._latents.size, self._latents.size)
        noise = fresh_noise((count, *shape), generators, self.device)
        noise = noise.to(memory_format=torch.channels_last)
        # It casts nothing itself: what autocast casts within it is kept until its end.
        with torch.autocast(self.device.type, enabled=False):
            yield from solve(
                stage.drawing,
                self._betas,
                self._estimate(),
                noise,
                generators,
                bounded=self._latents is None,
                usable=usable_timesteps(stage.diffusion, self._latents is not None),
            )

    def _estimate(self) -> Estimate:
        """Return the network as a function of noisy images that remembers its last estimate.

        Self-conditioned networks take that estimate as input.
        """
        stage = self.stage
        seen: tuple[torch.Tensor, ...] = ()

        def estimate(noised: torch.Tensor, level: Level) -> torch.Tensor:
            nonlocal seen
            prediction = self._predict(noised, level.time, *seen)
            clean = implied_image(
                stage.diffusion.objective, noised, level.signal, level.spread, prediction
            )
            if stage.model.self_condition:  # on the last estimate, Chen et al. 2022, algorithm 2
                seen = (clean.clamp(-1.0, 1.0) if self._latents is None else clean,)
            return clean

        return estimate

    def _predict(self, noised: torch.Tensor, time: float, *seen: torch.Tensor) -> torch.Tensor:
        """Return the network's prediction in float32, computed in the precision of the set."""
        times = torch.full((len(noised),), time, device=self.device)
        in_bf16 = self.stage.drawing.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=in_bf16):
            prediction = self._model(noised, times, *seen)
        return prediction.float()


def open_sampler(stage: SampleStage, run: SampleRun, manifest: Path, step: int) -> Sampler:
    """Return the sampler of the checkpoint of a step, which the manifest lists.

    It computes on the GPU if there is one, else on `run.cpus` cores.
    """
    device = compute_device(run.cpus, tf32=stage.drawing.precision == "tf32")
    weights = load_checkpoint(manifest, step, stage.drawing.ema_sigma_rel)
    decoder = None
    if stage.autoencoder is not None:
        from ddpm_bench.latents.encoding import open_decoder

        decoder = open_decoder(manifest, device)
    return Sampler(stage, weights, device, decoder)


def draw_batch(sampler: Sampler, start: int) -> DrawnBatch:
    """Draw the whole batch at a position of the set, and time it."""
    began = time.perf_counter()
    images = sampler.draw(start, sampler.stage.drawing.batch_size).numpy()
    return DrawnBatch(start, images, time.perf_counter() - began)


def draw_batches(
    sampler: Sampler, starts: Iterable[int], kept: KeptBatches
) -> Iterator[DrawnBatch]:
    """Yield the batches at these positions: kept ones from disk, the others drawn and then kept."""
    for start in starts:
        batch = kept.find(start)
        if batch is None:
            batch = draw_batch(sampler, start)
            kept.keep(batch)
        yield batch


def timing(sampler: Sampler, images: int, seconds: float) -> dict[str, Any]:
    """Return the timing record of a drawing job.

    images: number of images in the job's range. seconds: duration of all its batches, without start
    and loading, but with the images that the first and last batch hold beyond the range.
    """
    drawing = sampler.stage.drawing
    return {
        "images": images,
        "seconds": seconds,
        "batch_size": drawing.batch_size,
        "precision": drawing.precision,
        "device": device_name(sampler.device),
        "network_evaluations": drawing.network_evaluations(),
    }


def device_name(device: torch.device) -> str:
    """Return the device in words: the GPU's name, or the CPU's and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"


def denoising_steps(
    sampler: Sampler, images: int, most: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the number, noisy images and estimates of the clean ones of evenly spread solver steps.

    Numbers count from 1; `most`: how many steps at most. Both arrays are uint8 [n, H, W, C], n up
    to `images` and one batch: the first images of the set. A whole batch is drawn, as for the set,
    so the last step has the bytes of the set's images.
    """
    batch_size = sampler.stage.drawing.batch_size
    shown = set(spread(sampler.stage.drawing.solver_steps(), most))
    for index, (noised, clean) in enumerate(sampler.denoise(0, batch_size)):
        if index in shown:
            parts = (sampler.images(part[:images]).numpy() for part in (noised, clean))
            yield index + 1, *parts
