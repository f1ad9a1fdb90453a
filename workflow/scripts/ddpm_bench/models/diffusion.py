"""The forward process and the training loss.

Ho et al. 2020, "Denoising Diffusion Probabilistic Models"; Salimans & Ho 2022, "Progressive
Distillation for Fast Sampling of Diffusion Models" for the velocity v. Images are float32
[N, C, H, W] in [-1, 1]; times are int64 [N] in 0 .. T-1.
"""

from dataclasses import dataclass

import torch

from ddpm_bench.config.diffusion import WITH_ENDS, Diffusion


@dataclass(frozen=True)
class Schedule:
    """The values of q(x_t | x_0) that the loss needs, one per timestep: float32 [T]."""

    objective: str
    betas: torch.Tensor
    sqrt_alphas_cumprod: torch.Tensor
    sqrt_one_minus_alphas_cumprod: torch.Tensor
    loss_weight: torch.Tensor

    @property
    def timesteps(self) -> int:
        """Return T."""
        return len(self.betas)


def noise_schedule(keys: Diffusion) -> torch.Tensor:
    """Return the variances beta_1 .. beta_T of the forward process: float64 [T], in (0, 1).

    linear: Ho et al. 2020; scaled_linear: linear in the square root, Rombach et al. 2022; cosine:
    Nichol & Dhariwal 2021; sigmoid: Jabri et al. 2022; both as denoising-diffusion-pytorch does.
    With `rescale_zero_terminal_snr` the last one is 1.
    """
    betas = named_schedule(keys)
    return with_zero_terminal_snr(betas) if keys.rescale_zero_terminal_snr else betas


def with_zero_terminal_snr(betas: torch.Tensor) -> torch.Tensor:
    """Return betas that leave nothing of the image at the end: float64 [T].

    sqrt(abar) is shifted to 0 there and scaled to keep its first value (Lin et al. 2024, algorithm
    1).
    """
    roots = torch.cumprod(1 - betas, 0).sqrt()
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    powers = torch.cat([torch.ones_like(roots[:1]), roots**2])
    return 1 - powers[1:] / powers[:-1]


def named_schedule(keys: Diffusion) -> torch.Tensor:
    """Return the betas of the schedule of this name before any rescaling: float64 [T]."""
    if keys.beta_schedule in WITH_ENDS:
        start, end = keys.ends()
        if keys.beta_schedule == "linear":
            return torch.linspace(start, end, keys.timesteps, dtype=torch.float64)
        return torch.linspace(start**0.5, end**0.5, keys.timesteps, dtype=torch.float64) ** 2
    from denoising_diffusion_pytorch import denoising_diffusion_pytorch as package  # half a second

    return getattr(package, f"{keys.beta_schedule}_beta_schedule")(keys.timesteps)


def build_schedule(
    keys: Diffusion, device: torch.device, min_snr_gamma: float | None = None
) -> Schedule:
    """Return the schedule with the weight of each timestep's error in the loss.

    Weights turn the error of any objective into that of the noise up to a factor: 1 for eps, SNR
    for x_0, SNR / (SNR + 1) for v, as in denoising-diffusion-pytorch; with `min_snr_gamma` SNR is
    cut at it there (Hang et al. 2023, section 3.4), so eps has min(SNR, gamma) / SNR. With
    `rescale_zero_terminal_snr`, where those would leave the end untrained, x_0 has SNR + 1 and v
    has 1 (Salimans & Ho 2022, section 4).
    """
    betas = noise_schedule(keys)
    alphas_cumprod = torch.cumprod(1 - betas, 0)
    snr = alphas_cumprod / (1 - alphas_cumprod)
    cut = snr if min_snr_gamma is None else snr.clamp(max=min_snr_gamma)
    weights = {"pred_noise": cut / snr, "pred_x0": cut, "pred_v": cut / (snr + 1)}
    if keys.rescale_zero_terminal_snr:
        weights = {"pred_x0": snr + 1, "pred_v": torch.ones_like(snr)}
    values = (
        betas,
        alphas_cumprod.sqrt(),
        (1 - alphas_cumprod).sqrt(),
        weights[keys.objective],
    )
    return Schedule(keys.objective, *(value.float().to(device) for value in values))


def to_unit_range(pixels: torch.Tensor) -> torch.Tensor:
    """Scale uint8 pixels of any shape to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1.0


def to_model_range(images: torch.Tensor) -> torch.Tensor:
    """Return images uint8 [N, H, W, C] as float32 [N, C, H, W] in [-1, 1].

    Latents, float32 [N, h, w, c], become [N, c, h, w] and keep their values.
    """
    images = images.permute(0, 3, 1, 2)
    return images if images.is_floating_point() else to_unit_range(images)


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Return images float32 [N, C, H, W], clipped to [-1, 1], as uint8 [N, H, W, C]."""
    levels = (images.clamp(-1.0, 1.0) + 1.0) * 127.5
    return levels.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _at(values: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """Return a schedule's values [T] at the times [N], to multiply images with: [N, 1, 1, 1]."""
    return values[times][:, None, None, None]


def diffuse(
    schedule: Schedule, images: torch.Tensor, times: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """Return x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps (Ho et al. 2020, eq. 4)."""
    signal = _at(schedule.sqrt_alphas_cumprod, times)
    return signal * images + _at(schedule.sqrt_one_minus_alphas_cumprod, times) * noise


def target(
    schedule: Schedule, images: torch.Tensor, times: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """Return the tensor that the network should predict: [N, C, H, W].

    It is eps, x_0, or v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0 (Salimans & Ho 2022).
    """
    if schedule.objective == "pred_noise":
        return noise
    if schedule.objective == "pred_x0":
        return images
    signal = _at(schedule.sqrt_alphas_cumprod, times)
    return signal * noise - _at(schedule.sqrt_one_minus_alphas_cumprod, times) * images


def estimated_image(
    schedule: Schedule, noised: torch.Tensor, times: torch.Tensor, prediction: torch.Tensor
) -> torch.Tensor:
    """Return x_0, [N, C, H, W], as the prediction for x_t implies it."""
    signal = _at(schedule.sqrt_alphas_cumprod, times)
    spread = _at(schedule.sqrt_one_minus_alphas_cumprod, times)
    return implied_image(schedule.objective, noised, signal, spread, prediction)


def implied_image(
    objective: str,
    noised: torch.Tensor,
    signal: torch.Tensor | float,
    spread: torch.Tensor | float,
    prediction: torch.Tensor,
) -> torch.Tensor:
    """Return x_0 as the prediction for noised = signal x_0 + spread eps implies it.

    From eps: (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t) (Ho et al. 2020, eq. 4); from v:
    sqrt(abar_t) x_t - sqrt(1 - abar_t) v (Salimans & Ho 2022, appendix D).
    """
    if objective == "pred_x0":
        return prediction
    if objective == "pred_noise":
        return (noised - spread * prediction) / signal
    return signal * noised - spread * prediction


def image_losses(
    schedule: Schedule,
    model: torch.nn.Module,
    images: torch.Tensor,
    times: torch.Tensor,
    noise: torch.Tensor,
    estimator: torch.nn.Module | None = None,
) -> torch.Tensor:
    """Return the weighted squared error of each image, the mean over its pixels: float32 [N].

    estimator: the network that first estimates the image, for the model to see (self-conditioning,
    Chen et al. 2022, algorithm 1); None where it sees nothing.
    """
    noised = diffuse(schedule, images, times, noise)
    seen = ()
    if estimator is not None:
        with torch.no_grad():
            seen = (estimated_image(schedule, noised, times, estimator(noised, times).float()),)
    prediction = model(noised, times, *seen)
    error = (prediction.float() - target(schedule, images, times, noise)) ** 2
    return error.mean(dim=(1, 2, 3)) * schedule.loss_weight[times]
