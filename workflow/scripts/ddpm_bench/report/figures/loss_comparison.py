"""Training losses of several experiments on one axis, where they are comparable."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ddpm_bench.config.reporting import LossGroup
from ddpm_bench.report.figures.axes import scale_losses, scale_steps
from ddpm_bench.report.figures.loss_figure import SMOOTHED_SHARE, steps_per_row
from ddpm_bench.report.figures.style import (
    COLOURS,
    DASHES,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    CurveStyle,
    empty_figure,
    house_style,
    new_figure,
    write_in_axes,
    write_legend,
    write_notes,
    write_title,
)
from ddpm_bench.report.text import number

POINTS_UP_TO = 3  # curves: with more, the points of single rows hide the lines
LEGEND_WIDTH = 38  # characters
LINE, ENTRY, REST = 0.235, 0.1, 1.7  # inches of a line and an entry of the legend, and of the rest


def loss_comparison(
    groups: Sequence[LossGroup], losses: dict[str, pd.DataFrame], title: str
) -> Figure:
    """Draw a panel for each group; losses: tables of `read_losses` by experiment."""
    if not groups:
        return empty_figure(title, "No two experiments have losses that compare.")
    heights = [max(PANEL_HEIGHT, REST + legend_height(group)) for group in groups]
    with house_style():
        figure = new_figure(title, PANEL_WIDTH, sum(heights) + 0.8, hspace=0.04)
        grid = figure.subplots(len(groups), squeeze=False, height_ratios=heights)
        for axes, group in zip(grid[:, 0], groups, strict=True):
            draw_group(axes, group, losses)
    return figure


def legend_height(group: LossGroup) -> float:
    """Return the height in inches of the legend of a group."""
    labels = [label(name, about, 0.123456) for name, about in group.experiments.items()]
    return sum(LINE * len(text.splitlines()) + ENTRY for text in labels)


def draw_group(axes: Axes, group: LossGroup, losses: dict[str, pd.DataFrame]) -> None:
    """Draw the losses of one group with the same smoothing; faint points of single rows if few."""
    write_title(axes, group.dataset, group.about)
    finite = {
        name: rows[np.isfinite(rows["loss"])].sort_values("step") for name, rows in losses.items()
    }
    drawn = [name for name in group.experiments if not finite[name].empty]
    if not drawn:
        write_in_axes(axes, "No loss has been recorded yet.")
        return
    joined = pd.concat([finite[name] for name in drawn], ignore_index=True)
    window = smoothing_steps([finite[name] for name in drawn])
    handles = [
        draw_losses(axes, finite[name], window, style, points=len(drawn) <= POINTS_UP_TO)
        for style, name in zip(curve_styles(len(drawn)), drawn, strict=True)
    ]
    for handle, name in zip(handles, drawn, strict=True):
        end = finite[name]["step"] > finite[name]["step"].max() - window
        mean = float(finite[name]["loss"][end].mean())
        handle.set_label(label(name, group.experiments[name], mean))
    scale_losses(axes, joined["loss"])
    scale_steps(axes, joined["step"])
    axes.set_xlabel("training steps")
    axes.set_ylabel(f"training {axes.get_ylabel()}\nmean of {window:,} steps")
    write_legend(axes, handles, fontsize=12)
    write_notes(axes, notes(group, finite))


def smoothing_steps(tables: Sequence[pd.DataFrame]) -> int:
    """Return the number of steps to average over: a 25th of the shortest training."""
    per_row = max(steps_per_row(rows) for rows in tables)
    shortest = min(int(rows["step"].max()) for rows in tables)
    return max(1, shortest // SMOOTHED_SHARE // per_row) * per_row


def smoothed(rows: pd.DataFrame, window: int) -> pd.Series:
    """Return the running mean of the losses over `window` steps."""
    rows_of_window = max(1, window // steps_per_row(rows))
    return rows["loss"].rolling(rows_of_window, center=True, min_periods=1).mean()


def curve_styles(count: int) -> list[CurveStyle]:
    """Return the style of each curve, with different dashes if curves are few.

    Curves that coincide, such as those of two precisions, are then both visible.
    """
    apart = 1 if count <= len(DASHES) else len(COLOURS)
    return [
        CurveStyle(COLOURS[place % len(COLOURS)], None, DASHES[place // apart % len(DASHES)])
        for place in range(count)
    ]


def draw_losses(
    axes: Axes, rows: pd.DataFrame, window: int, style: CurveStyle, points: bool
) -> Line2D:
    """Draw one smoothed curve, with its single rows as faint points if `points`."""
    colour, _, dashes = style
    if points:
        size, alpha = (8, 0.12) if len(rows) > 1000 else (20, 0.25)
        axes.scatter(rows["step"], rows["loss"], color=colour, s=size, alpha=alpha, linewidth=0)
    (line,) = axes.plot(rows["step"], smoothed(rows, window), color=colour, linewidth=2.3)
    if dashes:
        line.set_dashes(dashes)
    return line


def label(name: str, difference: str, end: float) -> str:
    """Return the legend entry of a curve: its name, its difference, and the mean of its last
    window."""
    lines = textwrap.wrap(name, LEGEND_WIDTH) + textwrap.wrap(difference, LEGEND_WIDTH)
    mean = f"end {number(end)}"
    if difference and len(lines[-1]) + len(mean) + 3 <= LEGEND_WIDTH:
        return "\n".join([*lines[:-1], f"{lines[-1]} · {mean}"])
    return "\n".join([*lines, mean])


def notes(group: LossGroup, losses: dict[str, pd.DataFrame]) -> list[str]:
    """Return the caveats of a comparison: missing losses and different batch sizes."""
    found = []
    missing = [name for name in group.experiments if losses[name].empty]
    if missing:
        found.append(f"No loss has been recorded yet of {', '.join(missing)}.")
    shown = [losses[name] for name in group.experiments if name not in missing]
    batches = {round(float((rows["images_seen"] / rows["step"]).iloc[-1])) for rows in shown}
    if len(batches) > 1:
        found.append("Batches differ: at one step they have seen different numbers of images.")
    return found
