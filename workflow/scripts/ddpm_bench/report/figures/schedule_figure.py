"""The figure of a forward process: noise levels and loss weights against timesteps."""

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator

from ddpm_bench.config.diffusion import WITH_ENDS, Diffusion
from ddpm_bench.models.diffusion import build_schedule, noise_schedule
from ddpm_bench.report.figures.axes import FALLING_RATIO, label_plainly, make_logarithmic
from ddpm_bench.report.figures.style import COLOURS, PANEL_WIDTH, house_style, new_figure
from ddpm_bench.report.text import number

PREDICTED = {"pred_noise": "the noise", "pred_x0": "the image", "pred_v": "the velocity v"}


def schedule_table(keys: Diffusion, min_snr_gamma: float | None = None) -> pd.DataFrame:
    """Return a row per timestep 0 .. T - 1, float64, with the noise levels and loss weights.

    Columns: timestep, beta, alpha_bar, sigma, loss_weight, and uncut_weight, the weight without
    min-SNR. x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, alpha_bar_t the product of 1 -
    beta up to t (Ho et al. 2020, eq. 4); sigma_t = sqrt((1 - alpha_bar_t) / alpha_bar_t), the noise
    level of x_t / sqrt(alpha_bar_t) (Karras et al. 2022, table 1), infinite where alpha_bar is 0;
    SNR_t = sigma_t**-2.
    """
    cpu = torch.device("cpu")
    betas = noise_schedule(keys).numpy()
    alpha_bar = np.cumprod(1 - betas)
    with np.errstate(divide="ignore"):
        sigmas = np.sqrt((1 - alpha_bar) / alpha_bar)
    return pd.DataFrame(
        {
            "timestep": np.arange(len(betas)),
            "beta": betas,
            "alpha_bar": alpha_bar,
            "sigma": sigmas,
            "loss_weight": build_schedule(keys, cpu, min_snr_gamma).loss_weight.double().numpy(),
            "uncut_weight": build_schedule(keys, cpu).loss_weight.double().numpy(),
        }
    )


def schedule_figure(keys: Diffusion, min_snr_gamma: float | None, title: str) -> Figure:
    """Draw betas, sigmas, alpha-bar and loss weights against timesteps, a panel each."""
    table = schedule_table(keys, min_snr_gamma)
    with house_style():
        figure = new_figure(f"{title}\n{described(keys)}", PANEL_WIDTH, 9.2, hspace=0.04)
        (betas, sigmas), (levels, weights) = figure.subplots(2, 2, sharex=True)
        draw_betas(betas, table)
        draw_sigmas(sigmas, table)
        draw_levels(levels, table)
        draw_weights(weights, table, keys, min_snr_gamma)
        for axes in (betas, sigmas, levels, weights):
            axes.set_xlim(0, len(table) - 1)
            label_plainly(axes.xaxis, whole=True)
        for axes in (levels, weights):
            axes.set_xlabel("timestep t")
    return figure


def described(keys: Diffusion) -> str:
    """Return a schedule in words, like "linear schedule from 0.0001 to 0.02, 1,000 timesteps"."""
    name = f"{keys.beta_schedule.replace('_', ' ')} schedule"
    if keys.beta_schedule in WITH_ENDS:
        start, end = keys.ends()
        name += f" from {number(start)} to {number(end)}"
    rescaled = "\nrescaled to zero terminal SNR" if keys.rescale_zero_terminal_snr else ""
    return f"{name}, {keys.timesteps:,} timesteps{rescaled}"


def draw_betas(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the variance added at each timestep."""
    axes.plot(table["timestep"], table["beta"], color=COLOURS[0], linewidth=2.5)
    axes.set_title("variance that a timestep adds", loc="left")
    axes.set_ylabel(r"$\beta$")
    scale(axes, table["beta"])


def draw_sigmas(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the noise level of each timestep in units of the image."""
    sigmas = table["sigma"]
    axes.plot(table["timestep"], sigmas, color=COLOURS[3], linewidth=2.5)
    axes.set_title("noise in units of the image", loc="left")
    axes.set_ylabel(r"$\sigma = \sqrt{(1 - \bar{\alpha})\,/\,\bar{\alpha}}$, log axis")
    show_powers_of_ten(axes)
    highest = number(sigmas.iloc[-1]) if np.isfinite(sigmas.iloc[-1]) else "\N{INFINITY}"
    axes.annotate(
        f"from {number(sigmas.iloc[0])} to {highest}", (0.04, 0.93),
        xycoords="axes fraction", va="top", fontsize=14,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )  # fmt: skip


def draw_levels(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the factors of image and noise at each timestep."""
    alpha_bar = table["alpha_bar"]
    for values, name, colour, dashes in (
        (alpha_bar, r"$\bar{\alpha}$", COLOURS[0], "-"),
        (np.sqrt(alpha_bar), r"$\sqrt{\bar{\alpha}}$, of the image", COLOURS[2], "--"),
        (np.sqrt(1 - alpha_bar), r"$\sqrt{1 - \bar{\alpha}}$, of the noise", COLOURS[3], "-."),
    ):
        axes.plot(
            table["timestep"], values, color=colour, linestyle=dashes, linewidth=2.5, label=name
        )
    axes.set_title("factors of image and noise", loc="left")
    axes.set_ylim(0, 1.03)
    add_legend(axes)


def draw_weights(
    axes: Axes, table: pd.DataFrame, keys: Diffusion, min_snr_gamma: float | None
) -> None:
    """Draw the loss weight of each timestep, and that without min-SNR if it is used."""
    values = table["loss_weight"]
    if min_snr_gamma is None:
        axes.plot(table["timestep"], values, color=COLOURS[4], linewidth=2.5)
    else:
        axes.plot(
            table["timestep"], table["uncut_weight"], color="0.5", linestyle="--", linewidth=2,
            label="without min-SNR",
        )  # fmt: skip
        label = rf"min-SNR, $\gamma$ = {number(min_snr_gamma)}"
        axes.plot(table["timestep"], values, color=COLOURS[4], linewidth=2.5, label=label)
        add_legend(axes)
        values = pd.concat([values, table["uncut_weight"]])
    axes.set_title(f"loss weight, predicting {PREDICTED[keys.objective]}", loc="left")
    axes.set_ylabel("weight")
    scale(axes, values)


def add_legend(axes: Axes) -> None:
    """Write a legend in one line below the axis, where no curve is."""
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False, fontsize=13,
        handlelength=2.2, columnspacing=1.2,
    )  # fmt: skip


def scale(axes: Axes, values: pd.Series) -> None:
    """Start the axis at 0, or make it logarithmic if most values would lie at its bottom."""
    if values.max() > FALLING_RATIO * values.median():
        show_powers_of_ten(axes)
        axes.set_ylabel(f"{axes.get_ylabel()}, log axis")
    else:
        axes.set_ylim(0, 1.08 * values.max())


def show_powers_of_ten(axes: Axes) -> None:
    """Make the axis logarithmic with ticks at powers of ten, written like 0.01 if they are few."""
    make_logarithmic(axes.yaxis, LogLocator(numticks=7))
    low, high = axes.get_ylim()
    if low <= 1e-5 or high >= 1e6:
        axes.yaxis.set_major_formatter(LogFormatterSciNotation())
