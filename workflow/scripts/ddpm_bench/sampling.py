"""Drawing images from a checkpoint.

Image i of a set depends on (weights, keys of the set, seed, i) alone: each image has a generator
of its own, and batches are cut at fixed positions and always computed whole, so any cut into jobs
gives the same bytes on the same hardware.
"""

from collections.abc import Iterator

import diffusers
import numpy as np
import torch
from diffusers import SchedulerMixin

from .config.sampling import Drawing, SampleStage
from .cpu_blocks import compute_for_cpu
from .diffusion import build_schedule, estimated_image, to_uint8
from .model import build_model, in_channels_last
from .randomness import image_generator

# Our names of what the network predicts, and diffusers'.
PREDICTION_TYPES = {"pred_noise": "epsilon", "pred_x0": "sample", "pred_v": "v_prediction"}


def build_scheduler(drawing: Drawing, betas: np.ndarray, objective: str) -> SchedulerMixin:
    """The sampler of a set, from diffusers, on our betas (float32 [T]) and objective.

    ddpm: Ho et al. 2020; ddim: Song et al. 2021; dpmsolver++: Lu et al. 2022, multistep, order 2.
    """
    common = {
        "num_train_timesteps": len(betas),
        "trained_betas": betas,
        "prediction_type": PREDICTION_TYPES[objective],
    }
    visited = visited_timesteps(drawing.timestep_spacing, len(betas), drawing.steps)
    if drawing.scheduler == "ddim":
        # It takes no list; where `steps` divides T, which the config asks for, its own is ours.
        scheduler = diffusers.DDIMScheduler(
            **common, clip_sample=True, timestep_spacing=drawing.timestep_spacing
        )
        scheduler.set_timesteps(drawing.steps)
        assert scheduler.timesteps.tolist() == visited
        return scheduler
    if drawing.scheduler == "ddpm":
        scheduler = diffusers.DDPMScheduler(**common, clip_sample=True)
    else:
        scheduler = diffusers.DPMSolverMultistepScheduler(
            **common, algorithm_type="dpmsolver++", solver_order=2
        )
    scheduler.set_timesteps(timesteps=visited)
    return scheduler


def visited_timesteps(spacing: str, timesteps: int, steps: int) -> list[int]:
    """The timesteps that a sampler visits, descending in 0 .. timesteps - 1 (Lin et al. 2024,
    table 2); all are different for every steps <= timesteps.

    Computed in integers: with floating-point steps, some counts end in a timestep of -1.
    """
    if spacing == "trailing":  # T, then down in equal steps to one step above 0
        above_zero = [rounded(timesteps * count, steps) for count in range(steps, 0, -1)]
        return [time - 1 for time in above_zero]
    if spacing == "leading":  # whole strides up from 0
        return [count * (timesteps // steps) for count in range(steps - 1, -1, -1)]
    if steps == 1:
        return [timesteps - 1]
    return [rounded((timesteps - 1) * count, steps - 1) for count in range(steps - 1, -1, -1)]


def rounded(numerator: int, denominator: int) -> int:
    """The quotient of two integers, not negative, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


class Sampler:
    """A checkpoint's network with a set's scheduler.

    weights: the EMA parameters of a checkpoint, by name, on the CPU.
    """

    def __init__(
        self, stage: SampleStage, weights: dict[str, torch.Tensor], device: torch.device
    ) -> None:
        self.stage, self.device = stage, device
        model = build_model(stage.model, stage.channels)
        model.load_state_dict(weights)
        self._schedule = build_schedule(stage.diffusion, device)
        self._betas = self._schedule.betas.cpu().numpy()
        self._model = in_channels_last(model.to(device)).eval()
        if device.type == "cpu":
            compute_for_cpu(self._model)

    @torch.inference_mode()
    def draw(self, first: int, count: int) -> torch.Tensor:
        """Images first .. first + count - 1 of the set: uint8 [count, H, W, C]."""
        stage, drawing = self.stage, self.stage.drawing
        scheduler = build_scheduler(drawing, self._betas, stage.diffusion.objective)
        generators = [image_generator(drawing.seed, first + index) for index in range(count)]
        shape = (stage.channels, stage.image_size, stage.image_size)
        noise = [torch.randn(shape, generator=generator) for generator in generators]
        images = torch.stack(noise).to(self.device) * scheduler.init_noise_sigma
        options = {} if drawing.scheduler != "ddim" else {"eta": drawing.eta}
        seen: tuple[torch.Tensor, ...] = ()
        for time in scheduler.timesteps:
            times = time.to(self.device).expand(count)
            prediction = self._model(images.to(memory_format=torch.channels_last), times, *seen)
            if stage.model.self_condition:  # on the last estimate (Chen et al. 2022, algorithm 2)
                estimate = estimated_image(self._schedule, images, times, prediction)
                seen = (estimate.clamp(-1.0, 1.0),)
            step = scheduler.step(prediction, time, images, generator=generators, **options)
            images = step.prev_sample
        return to_uint8(images).cpu()


def draw_range(sampler: Sampler, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
    """Images first .. last of a set, a batch at a time, as (position of its first, uint8 array).

    Batches start at the multiples of batch_size; what a batch has outside the range is drawn too
    and dropped, so that no image depends on where a job's range begins or ends.
    """
    size = sampler.stage.drawing.batch_size
    for start in range(first // size * size, last + 1, size):
        batch = sampler.draw(start, size).numpy()
        begin, end = max(first, start), min(last + 1, start + size)
        yield begin, batch[begin - start : end - start]
