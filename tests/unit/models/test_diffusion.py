"""The loss equals that of denoising-diffusion-pytorch, and the equations of the papers."""

import pytest
import torch
from denoising_diffusion_pytorch import GaussianDiffusion
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.networks import Unet
from ddpm_bench.models import diffusion
from ddpm_bench.models.denoiser import build_model

CPU = torch.device("cpu")
MODEL = Unet(name="unet", dim=8, dim_mults=(1, 2))


@pytest.fixture(scope="module")
def model():
    return build_model(MODEL, channels=1)


def random_batch():
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (6, 8, 8, 1), generator=generator).to(torch.uint8)
    noise = torch.randn(6, 1, 8, 8, generator=generator)
    return levels, noise, torch.tensor([0, 1, 10, 500, 998, 999])


@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
@pytest.mark.parametrize("beta_schedule", ["linear", "cosine", "sigmoid"])
@pytest.mark.parametrize("min_snr_gamma", [None, 5.0])
def test_the_loss_equals_the_packages(model, objective, beta_schedule, min_snr_gamma):
    keys = Diffusion(objective=objective, beta_schedule=beta_schedule)
    schedule = diffusion.build_schedule(keys, CPU, min_snr_gamma)
    levels, noise, times = random_batch()
    images = diffusion.to_model_range(levels)
    theirs = GaussianDiffusion(
        model, image_size=8, objective=objective, beta_schedule=beta_schedule, auto_normalize=False,
        min_snr_loss_weight=min_snr_gamma is not None, min_snr_gamma=min_snr_gamma or 5,
    )  # fmt: skip
    with torch.no_grad():
        ours = diffusion.image_losses(schedule, model, images, times, noise).mean()
        expected = theirs.p_losses(images, times, noise=noise)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=0)


def test_a_noised_image_has_the_variance_of_the_equation():
    schedule = diffusion.build_schedule(Diffusion(), CPU)
    alpha_bar = torch.cumprod(1 - schedule.betas.double(), 0)
    levels, noise, times = random_batch()
    images = diffusion.to_model_range(levels)
    expected = (
        alpha_bar[times].sqrt()[:, None, None, None] * images
        + (1 - alpha_bar[times]).sqrt()[:, None, None, None] * noise
    )
    noised = diffusion.diffuse(schedule, images, times, noise)
    torch.testing.assert_close(noised.double(), expected, rtol=1e-4, atol=1e-4)


def test_velocity_and_noised_image_give_back_the_image():
    # Salimans & Ho 2022, appendix D: x_0 = alpha_t x_t - sigma_t v.
    schedule = diffusion.build_schedule(Diffusion(objective="pred_v"), CPU)
    levels, noise, times = random_batch()
    images = diffusion.to_model_range(levels)
    velocity = diffusion.target(schedule, images, times, noise)
    noised = diffusion.diffuse(schedule, images, times, noise)
    signal = schedule.sqrt_alphas_cumprod[times][:, None, None, None]
    spread = schedule.sqrt_one_minus_alphas_cumprod[times][:, None, None, None]
    torch.testing.assert_close(signal * noised - spread * velocity, images, rtol=0, atol=1e-5)


def test_a_scaled_linear_schedule_is_linear_in_the_square_root_between_its_ends():
    keys = Diffusion(beta_schedule="scaled_linear", beta_start=0.0004, beta_end=0.01, timesteps=50)
    betas = diffusion.noise_schedule(keys)
    steps = betas.sqrt().diff()
    torch.testing.assert_close(steps, steps[:1].expand(49), rtol=1e-9, atol=0)
    torch.testing.assert_close(betas[[0, -1]], torch.tensor([0.0004, 0.01]).double())
    # Without ends those of Rombach et al. 2022; diffusers' schedulers name the schedule so too.
    usual = diffusion.noise_schedule(Diffusion(beta_schedule="scaled_linear"))
    theirs = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").betas
    torch.testing.assert_close(usual.float(), theirs, rtol=1e-5, atol=0)


def test_a_linear_schedule_has_the_ends_it_is_given():
    betas = diffusion.noise_schedule(
        Diffusion(beta_schedule="linear", timesteps=200, beta_start=1e-4, beta_end=0.02)
    )
    torch.testing.assert_close(betas, torch.linspace(1e-4, 0.02, 200, dtype=torch.float64))


@pytest.mark.parametrize("schedule", ["scaled_linear", "linear", "cosine", "sigmoid"])
def test_a_rescaled_schedule_is_that_of_the_paper(schedule):
    """Lin et al. 2024, algorithm 1, as diffusers has it: the first level stays, the last is 0."""
    keys = Diffusion(beta_schedule=schedule, rescale_zero_terminal_snr=True)
    betas = diffusion.noise_schedule(keys)
    before = diffusion.noise_schedule(Diffusion(beta_schedule=schedule))
    torch.testing.assert_close(betas, rescale_zero_terminal_snr(before), rtol=1e-6, atol=1e-9)
    assert betas[-1] == 1 and betas[0] == pytest.approx(before[0].item(), rel=1e-9)


@pytest.mark.parametrize("objective", ["pred_x0", "pred_v"])
def test_each_timestep_of_a_rescaled_schedule_is_trained(objective):
    """The weight of v's error is 1, that of the image's SNR + 1, which is the same error."""
    keys = Diffusion(
        beta_schedule="scaled_linear", objective=objective, rescale_zero_terminal_snr=True
    )
    schedule = diffusion.build_schedule(keys, CPU)
    abar = torch.cumprod(1 - diffusion.noise_schedule(keys), 0)
    expected = {"pred_v": torch.ones(1000), "pred_x0": (1 / (1 - abar)).float()}[objective]
    torch.testing.assert_close(schedule.loss_weight, expected)
    levels, noise, _ = random_batch()
    images, times = diffusion.to_model_range(levels), torch.full((6,), 999)
    noised = diffusion.diffuse(schedule, images, times, noise)
    assert torch.equal(noised, noise), "nothing of the image is left"
    truth = diffusion.target(schedule, images, times, noise)
    torch.testing.assert_close(truth, images if objective == "pred_x0" else -images)
    torch.testing.assert_close(
        diffusion.estimated_image(schedule, noised, times, truth), images, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
def test_the_true_prediction_gives_back_the_image(objective):
    schedule = diffusion.build_schedule(Diffusion(objective=objective), CPU)
    levels, noise, _ = random_batch()
    times = torch.tensor([0, 1, 10, 300, 500, 700])
    images = diffusion.to_model_range(levels)
    noised = diffusion.diffuse(schedule, images, times, noise)
    truth = diffusion.target(schedule, images, times, noise)
    found = diffusion.estimated_image(schedule, noised, times, truth)
    torch.testing.assert_close(found, images, rtol=0, atol=1e-4)


def test_levels_survive_the_way_to_the_model_and_back():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    scaled = diffusion.to_model_range(levels)
    assert (float(scaled.min()), float(scaled.max())) == (-1.0, 1.0)
    assert torch.equal(diffusion.to_uint8(scaled), levels)


def test_values_out_of_range_are_clipped():
    assert diffusion.to_uint8(torch.tensor([-3.0, 3.0]).reshape(1, 1, 1, 2)).flatten().tolist() == [
        0, 255,
    ]  # fmt: skip


def test_weights_are_drawn_from_the_seed_alone():
    torch.manual_seed(5)
    first = build_model(MODEL, 1, seed=1).state_dict()
    torch.manual_seed(6)
    second = build_model(MODEL, 1, seed=1).state_dict()
    other = build_model(MODEL, 1, seed=2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["init_conv.weight"], other["init_conv.weight"])
