"""The figure of all members of a sweep: a line each through an axis per key, coloured by the
metric."""

import itertools
import textwrap

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddpm_bench.config.reporting import SweepStage
from ddpm_bench.config.sweep_members import short_names
from ddpm_bench.report.figures.axes import label_plainly
from ddpm_bench.report.figures.style import empty_figure, house_style, new_figure, write_notes
from ddpm_bench.report.sweeps.key_scales import KeyScale, key_scale
from ddpm_bench.report.sweeps.sweep_panels import (
    FAILED_COLOUR,
    NO_SCORES,
    ScoredAlike,
    failure_notes,
    scored_alike,
    write_title,
)
from ddpm_bench.report.text import number

WIDTH_PER_AXIS, NARROWEST, HEIGHT = 2.6, 11.0, 6.6  # inches
SPREAD = 0.02  # share of an axis that keeps lines of equal values apart
COLOUR_MAP = colormaps["viridis_r"]
POINTS = 60  # of a line between two axes
FAILED_PLACE = -0.12  # of the metric's axis: below all values


def parallel_coordinates_figure(stage: SweepStage, table: pd.DataFrame) -> Figure:
    """Draw a panel for each way to score; table: of `sweep_table`."""
    title = f"{stage.sweep}: all members"
    panels = list(scored_alike(table))
    if not panels:
        return empty_figure(title, NO_SCORES)
    keys = sorted(stage.swept.keys)
    width = max(NARROWEST, WIDTH_PER_AXIS * (len(keys) + 1) + 2)
    with house_style():
        figure = new_figure(title, width, len(panels) * HEIGHT + 0.8, hspace=0.04)
        grid = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axes, panel in zip(grid, panels, strict=True):
            draw_members(axes, panel, keys)
            write_title(axes, panel)
            write_notes(axes, failure_notes(panel.rows))
    return figure


def draw_members(axes: Axes, panel: ScoredAlike, keys: list[str]) -> None:
    """Draw the members' lines, axes of the keys, and last the metric's axis, its better end up."""
    axes.set_axis_on()
    scales = [key_scale(panel.rows[key]) for key in keys]
    low, high = metric_range(panel)
    colours = Normalize(low, high)
    worst_first = panel.rows.sort_values(
        "best_value", ascending=not panel.metric.lower_is_better, na_position="first"
    )
    for index, (_, row) in enumerate(worst_first.iterrows()):
        places = [
            scale.place(row[key]) + aside(index) for scale, key in zip(scales, keys, strict=True)
        ]
        value = row["best_value"]
        if np.isnan(value):
            draw_line(axes, [*places, FAILED_PLACE], color=FAILED_COLOUR, linestyle=(0, (3, 2)))
            axes.plot(
                len(keys), FAILED_PLACE, "x", color=FAILED_COLOUR, markersize=10,
                markeredgewidth=2.5, clip_on=False, zorder=6,
            )  # fmt: skip
            continue
        end = metric_place(value, low, high, panel.metric.lower_is_better)
        colour = shade(colours(value), panel.metric.lower_is_better)
        draw_line(axes, [*places, end], color=colour, linewidth=2.6)
    draw_axes(axes, panel, dict(zip(keys, scales, strict=True)), ends=(low, high))
    if not panel.measured.empty:
        add_colour_bar(axes, panel, colours)


def metric_range(panel: ScoredAlike) -> tuple[float, float]:
    """Return the lowest and highest value, set apart if they are equal."""
    values = panel.measured["best_value"]
    if values.empty:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - abs(low) / 2 - 1e-9, high + abs(high) / 2 + 1e-9)


def metric_place(value: float, low: float, high: float, lower_is_better: bool) -> float:
    """Return the position of a value on the metric's axis, 1 for the best."""
    share = (value - low) / (high - low)
    return 1 - share if lower_is_better else share


def shade(share: float, lower_is_better: bool) -> tuple[float, float, float, float]:
    """Return a colour that is dark for good values, and never too light for a white page."""
    return COLOUR_MAP(0.12 + 0.88 * ((1 - share) if lower_is_better else share))


def aside(index: int) -> float:
    """Return a small shift that keeps lines through one value apart."""
    return SPREAD * ((index * 0.618) % 1 - 0.5)


def draw_line(axes: Axes, places: list[float], **style: object) -> None:
    """Draw a smooth line through the axes, level at each."""
    rise = (1 - np.cos(np.linspace(0, np.pi, POINTS))) / 2
    x, y = [], []
    for index, (start, stop) in enumerate(itertools.pairwise(places)):
        x.append(np.linspace(index, index + 1, POINTS))
        y.append(start + (stop - start) * rise)
    axes.plot(np.concatenate(x), np.concatenate(y), **{"alpha": 0.85, "linewidth": 1.8, **style})


def draw_axes(
    axes: Axes, panel: ScoredAlike, scales: dict[str, KeyScale], ends: tuple[float, float]
) -> None:
    """Draw a vertical line with its values for each key and for the metric."""
    keys = list(scales)
    short = short_names(keys)
    axes.set(xlim=(-0.25, len(keys) + 0.3), ylim=(-0.2, 1.08), yticks=[])
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    for index, scale in enumerate(scales.values()):
        axes.plot([index, index], [-0.03, 1.03], color="0.25", linewidth=1.4, zorder=5)
        for place, label in scale.ticks():
            write_tick(axes, index, place, label)
        if scale.logarithmic:
            write_tick(axes, index, -0.11, "log")
    last = len(keys)
    axes.plot([last, last], [-0.03, 1.03], color="0.25", linewidth=1.4, zorder=5)
    for value in MaxNLocator(5).tick_values(*ends) if not panel.measured.empty else ():
        place = metric_place(value, *ends, panel.metric.lower_is_better)
        if 0 <= place <= 1:
            write_tick(axes, last, place, number(value))
    if panel.rows["best_value"].isna().any():
        write_tick(axes, last, FAILED_PLACE, "failed")
    names = ["\n".join(textwrap.wrap(short[key].replace("_", " "), 16)) for key in keys]
    axes.set_xticks(range(len(keys) + 1), [*names, panel.metric.name], fontsize=14)
    axes.tick_params(length=0, pad=2)


def write_tick(axes: Axes, index: int, place: float, label: str) -> None:
    """Write the label of a value to the left of a vertical axis."""
    axes.annotate(
        label, (index, place), xytext=(-7, 0), textcoords="offset points", ha="right",
        va="center", fontsize=12.5, zorder=7,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
    )  # fmt: skip


def add_colour_bar(axes: Axes, panel: ScoredAlike, colours: Normalize) -> None:
    """Draw the colours of values; the better end is up, like on the metric's axis."""
    lower = panel.metric.lower_is_better
    shown = COLOUR_MAP.resampled(256)(np.linspace(0.12, 1, 256))
    bar = axes.figure.colorbar(
        ScalarMappable(colours, ListedColormap(shown[::-1] if lower else shown)),
        ax=axes, pad=0.01, fraction=0.025, aspect=30,
    )  # fmt: skip
    label_plainly(bar.ax.yaxis)
    bar.set_label(panel.label(), fontsize=13)
    if lower:
        bar.ax.invert_yaxis()
