"""Objectives of training: the error of a denoising network, or of an autoencoder.

The training loop asks an objective for its network, for the random draws of a step, and for the
mean loss of a part of a batch; all else (processes, saving, resuming) is the same for both.
"""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn

from ddpm_bench.config.networks import VqVae
from ddpm_bench.config.training import TrainStage
from ddpm_bench.models import diffusion
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.models.randomness import derived_seed, sees_estimate, step_draws
from ddpm_bench.training.ema import Averages

Network = Callable[..., torch.Tensor]
# A tensor to its sum over all processes.
Total = Callable[[torch.Tensor], torch.Tensor]
RESTART_IMAGES = 64  # whose latents unused codes may become
COUNTS = "codebook_counts"  # in a saved state


class Objective:
    """Base of all objectives. Images are float32 [N, C, H, W] in [-1, 1], or latents."""

    network: nn.Module

    def draws(self, step: int, shape: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        """Return the random draws of a step for its whole global batch.

        shape: of the batch, [N, C, H, W]. Each draw is a tensor [N, ...].
        """
        return ()

    def loss(
        self,
        step: int,
        predict: Network,
        estimate: Network,
        images: torch.Tensor,
        *draws: torch.Tensor,
    ) -> torch.Tensor:
        """Return the mean loss of a part of the batch, a float32 scalar.

        predict: the network as it is trained; estimate: the network for a look without gradients;
        draws: the part of those of `draws`.
        """
        raise NotImplementedError

    def between_steps(
        self,
        step: int,
        images_at: Callable[[int], torch.Tensor],
        averages: Averages,
        total: Total,
    ) -> None:
        """Change the network after `step` steps, 0 before the first, where the objective does so.

        images_at: returns the first so many images of the next global batch.
        """

    def gather(self, total: Total, first: bool) -> None:
        """Sum the counts of all processes in the first one; called in all of them."""

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors that a resumed training needs beside weights and moments, by name."""
        return {}

    def restore(self, tensors: dict[str, torch.Tensor], first: bool) -> None:
        """Take over the tensors of `state`. first: True in the first process."""


def objective_of(stage: TrainStage, channels: int, device: torch.device) -> Objective:
    """Return the objective of a stage, with the first weights of its network, on the CPU.

    channels: of the images or latents that are trained on.
    """
    kind = Reconstruction if isinstance(stage.model, VqVae) else Denoising
    return kind(stage, channels, device)


def as_in_the_first(values: torch.Tensor) -> None:
    """Overwrite a tensor in all processes with the first one's.

    Values that each process has computed by itself may differ in their last bits, and nothing else
    would ever make them equal again.
    """
    if dist.is_initialized():
        dist.broadcast(values, src=0)


class Denoising(Objective):
    """The weighted squared error of a prediction for noised images (models/diffusion.py)."""

    def __init__(self, stage: TrainStage, channels: int, device: torch.device) -> None:
        assert not isinstance(stage.model, VqVae)
        self._keys, self._device = stage.train, device
        self._self_condition = stage.model.self_condition
        self.network = build_model(stage.model, channels, stage.train.seed)
        self.schedule = diffusion.build_schedule(stage.diffusion, device, stage.train.min_snr_gamma)

    def draws(self, step: int, shape: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        """Return noise, float32 [N, C, H, W], and times, int64 [N]."""
        return step_draws(
            self._keys.seed,
            step,
            shape,
            self.schedule.timesteps,
            self._device,
            self._keys.offset_noise,
        )

    def loss(
        self,
        step: int,
        predict: Network,
        estimate: Network,
        images: torch.Tensor,
        *draws: torch.Tensor,
    ) -> torch.Tensor:
        noise, times = draws
        sees = self._self_condition and sees_estimate(self._keys.seed, step)
        estimator = estimate if sees else None
        return diffusion.image_losses(
            self.schedule, predict, images, times, noise, estimator=estimator
        ).mean()


class Reconstruction(Objective):
    """The squared error of an autoencoder's images, and the distance of latents to their codes.

    Van den Oord et al. 2017, eq. 3, with squares as means over elements: (x - D(e))^2, plus
    `Codebooks.losses`. Codes begin as latents of the first batch, and those that go unused become
    latents of the batch at hand: pure functions of the seed, the step and the weights, so that a
    resumed training, or one with other processes, restarts the same codes.
    """

    def __init__(self, stage: TrainStage, channels: int, device: torch.device) -> None:
        from ddpm_bench.models.autoencoder import build_autoencoder

        assert isinstance(stage.model, VqVae)
        self._keys, self._model_keys = stage.train, stage.model
        self.network = build_autoencoder(stage.model, channels, stage.train.seed)
        self._codebooks = self.network.codebooks
        self._names = {id(value): name for name, value in self.network.named_parameters()}

    def loss(
        self,
        step: int,
        predict: Network,
        estimate: Network,
        images: torch.Tensor,
        *draws: torch.Tensor,
    ) -> torch.Tensor:
        from ddpm_bench.models.autoencoder import reconstruction_losses

        reconstructed, _, codebook_loss = predict(images)
        return reconstruction_losses(reconstructed, images).mean() + codebook_loss

    def between_steps(
        self,
        step: int,
        images_at: Callable[[int], torch.Tensor],
        averages: Averages,
        total: Total,
    ) -> None:
        keys = self._model_keys
        if step == 0:
            shape = (keys.residual_quantizers, keys.codebook_size)
            dead = torch.ones(shape, dtype=torch.bool)
        elif keys.restart_every and step % keys.restart_every == 0:
            dead = (total(self._codebooks.counts) == 0).cpu()
            self._codebooks.counts = None
        else:
            return
        if dead.any():
            self._restart(step, dead, images_at(RESTART_IMAGES), averages)

    @torch.no_grad()
    def _restart(
        self, step: int, dead: torch.Tensor, images: torch.Tensor, averages: Averages
    ) -> None:
        """Set unused codes, and their averages, to latents of some images.

        dead: bool [codebooks, codes]; images: float32 [N, C, H, W].
        """
        latents = self.network.encode(images)
        seed = derived_seed(self._keys.seed, "codebooks", step)
        self._codebooks.restart(dead, latents, seed)
        for weight in self._codebooks.code_weights():
            as_in_the_first(weight.data)
        # An average of a code that nothing used means nothing: it begins anew, too.
        for number, weight in enumerate(self._codebooks.code_weights()):
            for average in averages.of.values():
                mine = average[self._names[id(weight)]]
                mine[0, dead[number]] = weight.detach()[0, dead[number]]

    def gather(self, total: Total, first: bool) -> None:
        if self._codebooks.counts is not None:
            counts = total(self._codebooks.counts)
            self._codebooks.counts = counts if first else torch.zeros_like(counts)

    def state(self) -> dict[str, torch.Tensor]:
        counts = self._codebooks.counts
        return {} if counts is None else {COUNTS: counts}

    def restore(self, tensors: dict[str, torch.Tensor], first: bool) -> None:
        counts = tensors.get(COUNTS)
        device = next(self.network.parameters()).device
        if counts is not None:
            self._codebooks.counts = (counts if first else torch.zeros_like(counts)).to(device)
