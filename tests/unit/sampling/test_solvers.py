"""Solvers on data whose best network is known: right distribution, right order of convergence."""

import itertools

import diffusers
import numpy as np
import pytest
import torch
from exact_network import MEAN, SPREAD, ExactNetwork, estimated, standardised

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.networks import Unet
from ddpm_bench.config.noise_levels import visited_timesteps
from ddpm_bench.config.sampling import Drawing, SampleStage
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.models.diffusion import noise_schedule
from ddpm_bench.sampling.sampler import Sampler
from ddpm_bench.sampling.solvers import signal_powers, solve, visited_levels

SCHEDULERS = ("ddpm", "ddim", "dpmsolver++", "unipc", "euler", "euler-ancestral", "heun")
PIXELS = 320  # 102,400 of them are as many samples
NETWORK = Unet(name="unet", dim=8, dim_mults=(1,))


def betas_of(**keys) -> np.ndarray:
    return noise_schedule(Diffusion(**keys)).numpy()


def sampler(drawing: dict, diffusion: dict, size: int = PIXELS) -> Sampler:
    """Make a sampler whose network is the best one for normally distributed pixels."""
    stage = SampleStage(
        version=1, image_size=size, channels=1, model=NETWORK, drawing=Drawing(**drawing),
        diffusion=Diffusion(**diffusion),
    )  # fmt: skip
    made = Sampler(stage, build_model(NETWORK, 1).state_dict(), torch.device("cpu"))
    made._model = ExactNetwork(stage.diffusion.objective, noise_schedule(stage.diffusion).numpy())
    return made


def even_timesteps(betas: np.ndarray, highest: float, lowest: float, steps: int) -> list[int]:
    """Return timesteps at even distances in log sigma, one more than there are steps."""
    log_sigmas = np.log(1 / signal_powers(betas) - 1) / 2
    wanted = np.linspace(np.log(highest), np.log(lowest), steps + 1)
    times = np.interp(wanted, log_sigmas, np.arange(len(betas))).round().astype(int)
    return list(dict.fromkeys(times.tolist()))


FINE = {"beta_schedule": "linear", "timesteps": 100_000}  # whole timesteps at any noise level


@pytest.mark.parametrize(
    ("drawing", "even", "diffusion"),
    [
        # The variance falls short by about the step in log sigma where as much noise is added.
        ({"scheduler": "ddpm"}, 1000, {"objective": "pred_v"}),
        ({"scheduler": "ddpm", "variance": "fixed-large"}, 1000, {"objective": "pred_v"}),
        ({"scheduler": "euler-ancestral"}, 1000, {"objective": "pred_x0"}),
        ({"scheduler": "ddim", "eta": 0.5}, 500, {"objective": "pred_noise"}),
        ({"scheduler": "ddim"}, 500, {"objective": "pred_v", "beta_schedule": "cosine"}),
        ({"scheduler": "euler"}, 500, {"objective": "pred_noise"}),
        ({"scheduler": "heun"}, 60, {"objective": "pred_v"}),
        ({"solver_order": 1}, 500, {"objective": "pred_v"}),
        ({"solver_order": 2}, 60, {"objective": "pred_noise", "beta_schedule": "scaled_linear"}),
        ({"solver_order": 3}, 60, {"objective": "pred_x0", "beta_schedule": "sigmoid"}),
        ({"scheduler": "unipc", "solver_order": 1}, 60, {"objective": "pred_v"}),
        ({"scheduler": "unipc"}, 60, {"objective": "pred_noise"}),
        ({"scheduler": "unipc", "solver_order": 3}, 60, {"objective": "pred_x0"}),
        ({"steps": 60}, None, {"beta_schedule": "cosine"}),
        ({"scheduler": "unipc", "steps": 60}, None, {"beta_schedule": "cosine"}),
        ({"scheduler": "euler", "steps": 500}, None, {}),
        ({"scheduler": "heun", "steps": 60}, None, {"objective": "pred_noise"}),
    ],
    ids=str,
)
def test_samples_have_the_mean_and_variance_of_the_data(drawing, even, diffusion):
    """Visits timesteps even in log sigma, and the levels of Karras et al."""
    keys = {**FINE, **diffusion}
    if even is None:
        drawing = {**drawing, "karras_sigmas": True}
    else:
        drawing = {**drawing, "timesteps": even_timesteps(betas_of(**keys), 100, 0.01, even)}
    for images, _ in sampler(drawing, keys).denoise(0, 1):
        last = images
    assert last.dtype == torch.float32
    count = last.numel()
    assert abs(last.mean().item() - MEAN) < 4 * SPREAD / count**0.5
    assert abs(last.var().item() / SPREAD**2 - 1) < 4 * (2 / count) ** 0.5


@pytest.mark.parametrize(
    ("drawing", "order"),
    [
        ({"scheduler": "ddim"}, 1),
        ({"scheduler": "euler"}, 1),
        ({"scheduler": "heun"}, 2),
        ({"solver_order": 1}, 1),
        ({"solver_order": 2}, 2),
        # diffusers' third-order update has half of the term of the second derivative (its D2 is
        # h^2 D''/2, so the integral has twice the factor that stands there): its errors fall as
        # those of order 2 do. With the whole term the slope is 3.
        ({"solver_order": 3}, 2),
        # The corrector adds one (Zhao et al. 2023, theorem 3.1).
        ({"scheduler": "unipc", "solver_order": 1}, 2),
        ({"scheduler": "unipc", "solver_order": 2}, 3),
        ({"scheduler": "unipc", "solver_order": 3}, 4),
    ],
    ids=str,
)
def test_the_error_falls_with_the_step_as_the_order_of_the_solver_says(drawing, order):
    """Compares with the exact solution of the probability-flow ODE, at a fixed noise level."""
    betas = betas_of(beta_schedule="linear", timesteps=100_000)
    coarse, fine = (error_at_a_fixed_level(drawing, betas, steps) for steps in (80, 160))
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.2)


def error_at_a_fixed_level(drawing: dict, betas: np.ndarray, steps: int) -> float:
    """Return the largest error of a few pixels after steps down to sigma 0.05."""
    times = even_timesteps(betas, 100, 0.05, steps)
    further = [times[-1] * part // 10 for part in (9, 8, 7)]
    keys = Drawing(timesteps=(*times, *further), **drawing)
    levels = visited_levels(keys, betas)
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64).view(1, 1, 3, 3)
    way = solve(keys, betas, lambda x, at: estimated(x, at.signal, at.spread), noise, [])
    images, _ = next(itertools.islice(way, steps - 1, None))
    exact = standardised(noise, levels[0])
    return (standardised(images, levels[steps]) - exact).abs().max().item()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize(
    "diffusion",
    [
        {"beta_schedule": "cosine", "objective": "pred_noise"},
        {"beta_schedule": "sigmoid", "objective": "pred_x0"},
        # Nothing of the image is left long before the last timestep: 1e-700 of it.
        {"beta_schedule": "linear", "beta_end": 0.99, "objective": "pred_v"},
    ],
    ids=lambda keys: keys["beta_schedule"],
)
def test_a_few_steps_from_pure_noise_end_in_finite_images(scheduler, steps, diffusion):
    if scheduler == "heun" and steps in (2, 7):
        steps = 12  # fewer overshoot and are refused
    made = sampler({"scheduler": scheduler, "steps": steps}, diffusion, size=8)
    way = list(made.denoise(0, 2))
    assert len(way) == steps
    assert all(torch.isfinite(images).all() for images, _ in way)
    last, estimate = way[-1]
    assert (last - MEAN).abs().max() < 5 * SPREAD
    assert torch.allclose(last, estimate, rtol=0.01, atol=0.01), (
        "the last step goes to the estimate"
    )


def test_heun_takes_karras_levels_unless_timesteps_are_given():
    assert Drawing(scheduler="heun").karras_spaced()
    assert not Drawing(scheduler="heun", timesteps=[9, 3]).karras_spaced()
    assert not Drawing(scheduler="heun", timestep_spacing="leading").karras_spaced()
    assert not Drawing(scheduler="heun", karras_sigmas=False).karras_spaced()
    assert not Drawing().karras_spaced()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_listed_timesteps_are_visited_from_standard_noise_on(scheduler):
    """Lists the last 200 timesteps, and few of the first ones."""
    listed = ({"from": 199, "to": 120, "every": 20}, 100, 7, 0)
    made = sampler({"scheduler": scheduler, "timesteps": listed}, {}, size=32)
    network, seen = made._model, []
    made._model = lambda images, times: seen.append(images) or network(images, times)
    list(made.denoise(0, 1))
    assert list(dict.fromkeys(network.times)) == [199, 179, 159, 139, 100, 7, 0]
    assert seen[0].std().item() == pytest.approx(1, abs=0.1)
    assert seen[0].mean().item() == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_heun_asks_twice_in_each_step_but_the_last_and_others_once(scheduler):
    made = sampler({"scheduler": scheduler, "steps": 12}, {}, size=8)
    list(made.denoise(0, 1))
    assert len(made._model.times) == (23 if scheduler == "heun" else 12)
    assert made.stage.drawing.network_evaluations() == len(made._model.times)


@pytest.mark.parametrize("scheduler", ["dpmsolver++", "euler", "heun"])
def test_noise_levels_are_those_of_diffusers_on_the_same_timesteps(scheduler):
    betas = betas_of()
    kind = {
        "dpmsolver++": diffusers.DPMSolverMultistepScheduler,
        "euler": diffusers.EulerDiscreteScheduler,
        "heun": diffusers.HeunDiscreteScheduler,
    }[scheduler]
    theirs = kind(1000, trained_betas=betas)
    theirs.set_timesteps(timesteps=visited_timesteps("trailing", 1000, 20))
    levels = visited_levels(Drawing(scheduler=scheduler, steps=20, karras_sigmas=False), betas)
    sigmas = torch.tensor([level.sigma for level in levels])
    assert torch.allclose(sigmas, theirs.sigmas.unique().flip(0)[:-1].float(), rtol=1e-4)


def test_karras_levels_are_those_of_diffusers():
    betas = betas_of(beta_schedule="linear")
    levels = visited_levels(Drawing(karras_sigmas=True, steps=10), betas)
    theirs = diffusers.EulerDiscreteScheduler(
        1000,
        trained_betas=betas,
        use_karras_sigmas=True,
        timestep_spacing="linspace",
        sigma_max=80.0,
    )
    theirs.set_timesteps(10)
    sigmas = torch.tensor([level.sigma for level in levels])
    assert torch.allclose(sigmas, theirs.sigmas[:-1], rtol=1e-4)
    times = torch.tensor([level.time for level in levels])
    assert torch.allclose(times, theirs.timesteps, atol=0.01)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("steps", [4, 50])
def test_ddim_is_that_of_diffusers_where_the_steps_divide(eta, steps):
    betas = betas_of(beta_schedule="linear")
    theirs = diffusers.DDIMScheduler(
        1000, trained_betas=betas, prediction_type="sample", timestep_spacing="trailing"
    )
    theirs.set_timesteps(steps)
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def estimate(images, level):  # leaves [-1, 1] at times, to be clipped
        return images * 1.5 - 0.2

    def generators():
        return [torch.Generator().manual_seed(index) for index in range(2)]

    ours = list(
        solve(Drawing(scheduler="ddim", steps=steps, eta=eta), betas, estimate, noise, generators())
    )
    images, own = noise, generators()
    for time in theirs.timesteps:
        images = theirs.step(
            estimate(images, None),
            time,
            images,
            eta=eta,
            use_clipped_model_output=True,
            generator=own,
        ).prev_sample
    assert torch.allclose(ours[-1][0], images, atol=1e-4)


def test_ddim_with_all_noise_is_ddpm():
    betas = betas_of()
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    ends = []
    for drawing in ({"scheduler": "ddim", "eta": 1.0}, {"scheduler": "ddpm"}):
        generators = [torch.Generator().manual_seed(index) for index in range(2)]
        way = solve(
            Drawing(steps=61, **drawing), betas, lambda x, at: estimated(x, at.signal, at.spread),
            noise, generators,
        )  # fmt: skip
        ends.append([images for images, _ in way][-1])
    assert torch.allclose(*ends, atol=1e-5)


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_every_number_of_steps_visits_so_many_different_timesteps(spacing):
    for steps in range(1, 1001):
        visited = visited_timesteps(spacing, 1000, steps)
        assert len(visited) == steps
        assert all(earlier > later for earlier, later in itertools.pairwise(visited))
        assert visited[-1] >= 0 and visited[0] <= 999
    assert visited == list(range(999, -1, -1))


def test_timesteps_are_those_of_the_paper():
    # Lin et al. 2024, table 2, for T = 1000 and S = 10, counted from 0 instead of 1.
    assert visited_timesteps("trailing", 1000, 10) == list(range(999, 0, -100))
    assert visited_timesteps("leading", 1000, 10) == list(range(900, -1, -100))
    assert visited_timesteps("linspace", 1000, 10) == list(range(999, -1, -111))


@pytest.mark.parametrize("skipping", [False, True], ids=["all timesteps", "every tenth"])
def test_ddpm_adds_noise_of_the_variance_that_is_asked_for(skipping):
    """Ho et al. 2020, section 3.2: from zeros that are estimated as zeros, a step leads to its
    noise alone; its variance is beta, or beta (1 - abar_(t-1)) / (1 - abar_t)."""
    betas = betas_of(beta_schedule="linear")
    abar = np.cumprod(1 - betas)
    first, following = (999, 989) if skipping else (999, 998)
    beta = 1 - abar[first] / abar[following]
    expected = {
        "fixed-large": beta,
        "fixed-small": beta * (1 - abar[following]) / (1 - abar[first]),
    }
    expected[None] = expected["fixed-small"]
    steps = {"steps": 100 if skipping else 1000}
    for variance, value in expected.items():
        drawing = Drawing(scheduler="ddpm", variance=variance, **steps)
        zeros = torch.zeros(1, 1, 8, 8)
        generator = torch.Generator().manual_seed(0)
        images, _ = next(solve(drawing, betas, lambda x, level: x, zeros, [generator]))
        drawn = torch.randn((1, 8, 8), generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(images[0], drawn * value**0.5, rtol=1e-5, atol=1e-6)
