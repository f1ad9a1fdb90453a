"""The figure of a schedule shows the curves of the papers."""

import numpy as np
import pytest

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.report.figures.schedule_figure import schedule_figure, schedule_table

T = 1000
TIMES = np.arange(1, T + 1) / T


def cosine_alpha_bar() -> np.ndarray:
    """cos((t/T + s) / (1 + s) * pi / 2)**2 over its value at 0, s = 0.008 (Nichol & Dhariwal 2021,
    eq. 17)."""
    levels = np.cos((np.append(0, TIMES) + 0.008) / 1.008 * np.pi / 2) ** 2
    return levels[1:] / levels[0]


def sigmoid_alpha_bar() -> np.ndarray:
    """A sigmoid from -3 to 3, flipped and scaled to [0, 1] (Jabri et al. 2022, appendix B)."""
    start, end, here = (1 / (1 + np.exp(-at)) for at in (-3, 3, 6 * TIMES - 3))
    return (end - here) / (end - start)


@pytest.mark.parametrize(
    ("name", "closed_form"), [("cosine", cosine_alpha_bar()), ("sigmoid", sigmoid_alpha_bar())]
)
def test_alpha_bar_of_a_named_schedule_is_the_papers(name, closed_form):
    table = schedule_table(Diffusion(beta_schedule=name))
    # Betas are cut at 0.999, which bends the last timestep.
    np.testing.assert_allclose(table["alpha_bar"][:-1], closed_form[:-1], rtol=1e-6, atol=1e-7)
    assert table["beta"].max() <= 0.999


def test_linear_betas_are_evenly_spaced_and_scaled_linear_ones_in_the_square_root():
    linear = schedule_table(Diffusion(beta_schedule="linear"))["beta"]
    np.testing.assert_allclose(linear, np.linspace(1e-4, 0.02, T))
    scaled = schedule_table(Diffusion(beta_schedule="scaled_linear"))["beta"]
    np.testing.assert_allclose(np.sqrt(scaled), np.linspace(0.00085**0.5, 0.012**0.5, T))


@pytest.mark.parametrize(
    ("objective", "uncut", "cut"),
    [
        ("pred_noise", lambda snr: np.ones(T), lambda snr: np.minimum(snr, 5) / snr),
        ("pred_x0", lambda snr: snr, lambda snr: np.minimum(snr, 5)),
        ("pred_v", lambda snr: snr / (snr + 1), lambda snr: np.minimum(snr, 5) / (snr + 1)),
    ],
)
def test_sigma_is_the_noise_level_and_weights_are_those_of_its_snr(objective, uncut, cut):
    """SNR_t = alpha_bar_t / (1 - alpha_bar_t) = sigma_t**-2; min-SNR weights: Hang et al. 2023."""
    table = schedule_table(Diffusion(beta_schedule="linear", objective=objective), 5.0)
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, T))
    snr = alpha_bar / (1 - alpha_bar)
    np.testing.assert_allclose(table["sigma"], snr**-0.5, rtol=1e-9)
    np.testing.assert_allclose(table["uncut_weight"], uncut(snr), rtol=1e-5)
    np.testing.assert_allclose(table["loss_weight"], cut(snr), rtol=1e-5)


def test_the_figure_draws_the_table():
    keys = Diffusion(beta_schedule="cosine")
    table = schedule_table(keys, 5.0)
    betas, sigmas, levels, weights = schedule_figure(keys, 5.0, "digits").axes
    for axes, drawn in (
        (betas, [table["beta"]]),
        (sigmas, [table["sigma"]]),
        (levels, [table["alpha_bar"], table["alpha_bar"] ** 0.5, (1 - table["alpha_bar"]) ** 0.5]),
        (weights, [table["uncut_weight"], table["loss_weight"]]),
    ):
        for line, values in zip(axes.lines, drawn, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), np.arange(T))
            np.testing.assert_array_equal(line.get_ydata(), values)
    assert (betas.get_yscale(), sigmas.get_yscale()) == ("log", "log")
    assert "log axis" in betas.get_ylabel() and "velocity" in weights.get_title("left")


def test_a_rescaled_schedule_ends_in_noise_alone():
    keys = Diffusion(beta_schedule="scaled_linear", rescale_zero_terminal_snr=True)
    last = schedule_table(keys).iloc[-1]
    assert (last["alpha_bar"], last["sigma"], last["loss_weight"]) == (0, np.inf, 1)
    figure = schedule_figure(keys, None, "digits")
    assert "rescaled to zero terminal SNR" in figure.get_suptitle()
    assert "to \N{INFINITY}" in figure.axes[1].texts[0].get_text()


def test_without_min_snr_there_is_one_curve_of_weights():
    *_, weights = schedule_figure(Diffusion(beta_schedule="linear"), None, "digits").axes
    assert len(weights.lines) == 1
