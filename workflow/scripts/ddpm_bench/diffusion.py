"""The forward process and the training loss.

Ho et al. 2020, "Denoising Diffusion Probabilistic Models"; Salimans & Ho 2022, "Progressive
Distillation for Fast Sampling of Diffusion Models" for the velocity v. Images are float32
[N, C, H, W] in [-1, 1]; times are int64 [N] in 0 .. T-1.
"""

from dataclasses import dataclass

import torch
from denoising_diffusion_pytorch import GaussianDiffusion

from .config.training import Diffusion
from .model import DenoisingUnet


@dataclass(frozen=True)
class Schedule:
    """What the loss needs of q(x_t | x_0), one value per timestep: float32 [T]."""

    objective: str
    betas: torch.Tensor
    sqrt_alphas_cumprod: torch.Tensor
    sqrt_one_minus_alphas_cumprod: torch.Tensor
    loss_weight: torch.Tensor

    @property
    def timesteps(self) -> int:
        return len(self.betas)


def build_schedule(
    keys: Diffusion, model: DenoisingUnet, image_size: int, device: torch.device
) -> Schedule:
    """The schedule as denoising-diffusion-pytorch's GaussianDiffusion computes it."""
    process = GaussianDiffusion(
        model,
        image_size=image_size,
        timesteps=keys.timesteps,
        objective=keys.objective,
        beta_schedule=keys.beta_schedule,
    )
    names = ("betas", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "loss_weight")
    return Schedule(keys.objective, *(getattr(process, name).to(device) for name in names))


def to_model_range(images: torch.Tensor) -> torch.Tensor:
    """uint8 [N, H, W, C] to float32 [N, C, H, W] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """float32 [N, C, H, W], clipped to [-1, 1], to uint8 [N, H, W, C]."""
    levels = (images.clamp(-1.0, 1.0) + 1.0) * 127.5
    return levels.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def diffuse(
    schedule: Schedule, images: torch.Tensor, times: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (Ho et al. 2020, eq. 4)."""
    signal = schedule.sqrt_alphas_cumprod[times][:, None, None, None]
    spread = schedule.sqrt_one_minus_alphas_cumprod[times][:, None, None, None]
    return signal * images + spread * noise


def target(
    schedule: Schedule, images: torch.Tensor, times: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """What the network should predict: eps, x_0, or v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0."""
    if schedule.objective == "pred_noise":
        return noise
    if schedule.objective == "pred_x0":
        return images
    signal = schedule.sqrt_alphas_cumprod[times][:, None, None, None]
    spread = schedule.sqrt_one_minus_alphas_cumprod[times][:, None, None, None]
    return signal * noise - spread * images


def loss(
    schedule: Schedule,
    model: torch.nn.Module,
    images: torch.Tensor,
    times: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """The mean over the batch of the weighted squared error of each image, a float32 scalar.

    Weights turn the error of any objective into that of the noise up to a factor: 1 for eps,
    SNR for x_0, SNR / (SNR + 1) for v, as in denoising-diffusion-pytorch.
    """
    prediction = model(diffuse(schedule, images, times, noise), times)
    error = (prediction.float() - target(schedule, images, times, noise)) ** 2
    return (error.mean(dim=(1, 2, 3)) * schedule.loss_weight[times]).mean()
