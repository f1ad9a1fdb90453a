"""The loss of checkpoints on held-out and on training images, at fixed noise.

All checkpoints see the same images, timesteps and noise, so a curve over training has none of the
training loss's noise. Image i of one split has the timestep and the noise of image i of the other:
where the two curves part, the network knows its training images better than others of their kind,
and begins to memorise them.
"""

from collections.abc import Callable

import numpy as np
import torch

from ddpm_bench.config.networks import VqVae
from ddpm_bench.config.training import VALIDATION_BATCH, ValidateStage
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.models.diffusion import build_schedule, image_losses, to_model_range
from ddpm_bench.models.fast_layers import compute_for_cpu, in_channels_last
from ddpm_bench.models.randomness import validation_draws, validation_positions


class Validator:
    """The images of both splits, and the network that checkpoints go into.

    held_out, training: uint8 [N, H, W, C]. As many of each are taken as the config asks for, or as
    the smaller split has. batch_size decides memory; it touches losses by rounding alone.
    """

    def __init__(
        self,
        stage: ValidateStage,
        held_out: np.ndarray,
        training: np.ndarray,
        device: torch.device,
        batch_size: int = VALIDATION_BATCH,
    ) -> None:
        self._stage, self._device, self._batch_size = stage, device, batch_size
        self.images = min(stage.validation.images, len(held_out), len(training))
        self._splits = [
            split[validation_positions(stage.validation.seed, len(split), self.images)]
            for split in (held_out, training)
        ]
        self._schedule = build_schedule(stage.diffusion, device, stage.min_snr_gamma)
        if isinstance(stage.model, VqVae):
            from ddpm_bench.models.autoencoder import build_autoencoder

            model, self._losses = build_autoencoder(stage.model, training.shape[3]), self._of_codes
        else:
            model, self._losses = build_model(stage.model, training.shape[3]), self._of_noise
        self._model = in_channels_last(model.to(device)).eval()
        if device.type == "cpu":
            compute_for_cpu(self._model)
        # Sampling always conditions on an estimate, so here every image sees one.
        self_condition = getattr(stage.model, "self_condition", False)
        self._estimator = self._model if self_condition else None

    def row(
        self, step: int, weights: dict[str, torch.Tensor], done: Callable[[int], object]
    ) -> dict[str, float]:
        """Return the losses of a checkpoint, as a row of score_tables.VALIDATION_COLUMNS.

        weights: parameters by name, on the CPU. `done` is called with the number of images of each
        batch. gap_standard_error is that of eval_loss - train_loss over the choice of images, from
        the differences within pairs that share timestep and noise. It takes them for independent
        draws; timesteps are stratified, so it is rather too large than too small.
        """
        self._model.load_state_dict(weights)
        batches = []
        for start in range(0, self.images, self._batch_size):
            batches.append(self.losses(range(start, min(start + self._batch_size, self.images))))
            done(batches[-1].shape[1])
        held_out, training = np.concatenate(batches, axis=1)
        spread = (held_out - training).std(ddof=1) if self.images > 1 else np.nan
        return {
            "step": step,
            "images": self.images,
            "eval_loss": held_out.mean(),
            "train_loss": training.mean(),
            "gap_standard_error": spread / self.images**0.5,
        }

    @torch.inference_mode()
    def losses(self, positions: range) -> np.ndarray:
        """Return the losses of the images at `positions` of both splits: float64 [2, n].

        Held-out images come first. It is the training's loss, computed in float32.
        """
        losses = []
        for split in self._splits:
            levels = torch.from_numpy(split[positions.start : positions.stop])
            images = to_model_range(levels.to(self._device))  # channels_last, as the levels lie
            losses.append(self._losses(images, positions))
        return torch.stack(losses).double().cpu().numpy()

    def _of_noise(self, images: torch.Tensor, positions: range) -> torch.Tensor:
        """Return the losses of a denoising network, float32 [N], for images [N, C, H, W]."""
        stage = self._stage
        noise, times = validation_draws(
            stage.validation.seed,
            positions,
            self.images,
            stage.diffusion.timesteps,
            tuple(images.shape[1:]),
        )
        noise, times = noise.to(self._device), times.to(self._device)
        return image_losses(self._schedule, self._model, images, times, noise, self._estimator)

    def _of_codes(self, images: torch.Tensor, _: range) -> torch.Tensor:
        """Return the losses of an autoencoder, float32 [N], which sees no noise."""
        return self._model.image_losses(images)
