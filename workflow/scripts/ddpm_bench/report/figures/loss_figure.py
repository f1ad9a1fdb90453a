"""The figure of a training's losses and learning rate."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddpm_bench.report.figures.axes import ROUND_STEPS, label_plainly, scale_losses, scale_steps
from ddpm_bench.report.figures.style import (
    COLOURS,
    NOTE_COLOUR,
    PANEL_WIDTH,
    empty_figure,
    house_style,
    new_figure,
)
from ddpm_bench.report.tables.losses import SKIPPED
from ddpm_bench.report.text import image_unit, with_error

HEIGHT, RATE_HEIGHT, LEGEND_HEIGHT = 6.0, 2.2, 1.0  # inches
SMOOTHED_SHARE, MOST_SMOOTHED = 25, 50  # a mean over a 25th of the rows, at most over 50


def loss_figure(losses: pd.DataFrame, title: str, validation: pd.DataFrame | None = None) -> Figure:
    """Draw losses against training steps, and below them the learning rate if it changes.

    losses: a table of `read_losses`. validation: a table with the columns
    score_tables.VALIDATION_COLUMNS, or None.
    """
    losses = losses.sort_values("step")
    rows = losses[np.isfinite(losses["loss"])]
    if rows.empty:
        return empty_figure(title, "No loss has been recorded yet.")
    heights = [HEIGHT, RATE_HEIGHT] if rows["learning_rate"].nunique() > 1 else [HEIGHT]
    with house_style():
        figure = new_figure(title, PANEL_WIDTH, sum(heights) + LEGEND_HEIGHT)
        panels = figure.subplots(len(heights), squeeze=False, sharex=True, height_ratios=heights)
        axes = panels[0, 0]
        draw_training_loss(axes, rows)
        if validation is not None and not validation.empty:
            draw_validation(axes, validation.sort_values("step"))
        scale_losses(axes, rows["loss"])
        mark_skipped(axes, losses)
        if len(heights) > 1:
            draw_learning_rate(panels[1, 0], rows)
        scale_steps(axes, rows["step"])
        panels[-1, 0].set_xlabel("training steps")
        add_images_seen(axes, rows)
        # Below the panels: with memorising, a curve rises into the usual place of a legend.
        handles, names = axes.get_legend_handles_labels()
        legend = figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
        legend.legend_handles[0].set(alpha=0.8, sizes=[30])
    return figure


def draw_training_loss(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw each row as a faint point, and the running mean as a line."""
    window = min(max(1, len(rows) // SMOOTHED_SHARE), MOST_SMOOTHED)
    smooth = rows["loss"].rolling(window, center=True, min_periods=1).mean()
    size, alpha = (8, 0.15) if len(rows) > 1000 else (24, 0.4) if len(rows) > 20 else (70, 0.9)
    axes.scatter(
        rows["step"], rows["loss"], color=COLOURS[0], alpha=alpha, s=size, linewidth=0,
        label=f"training, mean of {steps_per_row(rows):,} steps",
    )  # fmt: skip
    if window > 1:
        name = f"training, mean of {window * steps_per_row(rows):,} steps"
        axes.plot(rows["step"], smooth, color=COLOURS[3], linewidth=2.5, label=name)


def draw_validation(axes: Axes, validation: pd.DataFrame) -> None:
    """Draw the losses of checkpoints at fixed noise; the legend has their last difference."""
    last = validation.iloc[-1]
    gap = with_error(last["eval_loss"] - last["train_loss"], last["gap_standard_error"])
    images = f"{int(last['images']):,}"
    size = 0 if len(validation) > 30 else 8
    for column, colour, marker, dashes, name in (
        ("eval_loss", COLOURS[2], "o", "-", f"EMA weights, {images} held-out images"),
        (
            "train_loss", "black", "s", "--",
            f"EMA weights, {images} training images, same noise\n"
            f"held-out \N{MINUS SIGN} training at step {int(last['step']):,}: {gap}",
        ),
    ):  # fmt: skip
        axes.plot(
            validation["step"].astype("int64"), validation[column], color=colour, marker=marker,
            linestyle=dashes, linewidth=2, markersize=size, markeredgecolor="white", label=name,
            zorder=4,
        )  # fmt: skip


def mark_skipped(axes: Axes, losses: pd.DataFrame) -> None:
    """Mark on the axis the rows in which steps were skipped; the legend has their number."""
    if SKIPPED not in losses or not losses[SKIPPED].max() > 0:
        return
    where = losses["step"][losses[SKIPPED].diff().fillna(losses[SKIPPED]) > 0]
    axes.plot(
        where, np.full(len(where), 0.015), transform=axes.get_xaxis_transform(), linestyle="none",
        marker="^", markersize=9, color=NOTE_COLOUR, clip_on=False, zorder=5,
        label=f"steps skipped, gradients not finite: {losses[SKIPPED].max():,.0f} in all",
    )  # fmt: skip


def draw_learning_rate(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the learning rate of each row."""
    axes.plot(rows["step"], rows["learning_rate"], color=COLOURS[0], linewidth=2.5)
    axes.set_ylabel("learning rate")
    axes.set_ylim(0, 1.1 * rows["learning_rate"].max())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3))
    label_plainly(axes.yaxis)


def steps_per_row(rows: pd.DataFrame) -> int:
    """Return the number of training steps that a row's loss is the mean of."""
    return int(np.median(np.diff(rows["step"], prepend=0)))


def add_images_seen(axes: Axes, rows: pd.DataFrame) -> None:
    """Add a second scale of images seen, if the batch size never changed."""
    per_step = rows["images_seen"] / rows["step"]
    if not np.isfinite(per_step).all() or per_step.max() > per_step.min() * (1 + 1e-9):
        return
    batch = float(per_step.iloc[0])
    unit, name = image_unit(batch * rows["step"].max())
    factor = batch / unit
    above = axes.secondary_xaxis("top", functions=(lambda x: x * factor, lambda x: x / factor))
    above.set_xlabel(f"images seen{name} (batch {batch:,.0f})", labelpad=8)
    above.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=ROUND_STEPS))
    above.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
