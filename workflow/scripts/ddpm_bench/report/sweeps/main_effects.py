"""The figure of a sweep's main effects: the metric at each value of a key, over all other keys."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ddpm_bench.config.reporting import SweepStage
from ddpm_bench.config.sweep_members import short_names
from ddpm_bench.report.figures.axes import label_plainly
from ddpm_bench.report.figures.style import COLOURS, empty_figure, house_style, new_figure
from ddpm_bench.report.sweeps.key_scales import KeyScale, key_scale
from ddpm_bench.report.sweeps.sweep_panels import (
    FAILED_COLOUR,
    NO_SCORES,
    ScoredAlike,
    scored_alike,
)

COLUMNS = 3  # panels beside each other
WIDTH, HEIGHT, AROUND = 5.2, 4.6, 1.5  # inches of a panel, and around those of a way to score
PARTS = 5  # of an axis with many values, each with a mean
CHARACTERS = 30  # along an axis
JITTER = 0.025  # of the axis, to each side


def main_effects_figure(stage: SweepStage, table: pd.DataFrame) -> Figure:
    """Draw a block of panels for each way to score, one per key; table: of `sweep_table`."""
    title = f"{stage.sweep}: each key by itself"
    panels = list(scored_alike(table))
    if not panels:
        return empty_figure(title, NO_SCORES)
    keys = sorted(stage.swept.keys)
    across, down = min(COLUMNS, len(keys)), math.ceil(len(keys) / COLUMNS)
    width, height = max(2, across) * WIDTH + 0.8, len(panels) * (down * HEIGHT + AROUND) + 0.8
    with house_style():
        figure = new_figure(title, width, height, w_pad=0.12, h_pad=0.12)
        blocks = figure.subfigures(len(panels), squeeze=False)[:, 0]
        for block, panel in zip(blocks, panels, strict=True):
            block.suptitle(f"{panel.title()}\n{panel.subtitle()}", fontsize=15, x=0.02, ha="left")
            grid = block.subplots(down, across, squeeze=False, sharey=True).flat
            draw_effects(list(grid), panel, keys)
    return figure


def draw_effects(grid: list[Axes], panel: ScoredAlike, keys: list[str]) -> None:
    """Draw the panels of one way to score, which share the metric's axis."""
    short = short_names(keys)
    for axes in grid[len(keys) :]:
        axes.set_axis_off()
    for index, (axes, key) in enumerate(zip(grid, keys, strict=False)):
        draw_effect(axes, panel, key)
        axes.set_xlabel(short[key])
        if index % COLUMNS == 0:
            axes.set_ylabel(panel.label())
    label_plainly(grid[0].yaxis)
    if panel.metric.never_negative:
        grid[0].set_ylim(bottom=0)  # of all panels
    many = any(key_scale(panel.rows[key]).continuous for key in keys)
    meaning = "mean ± 1 standard deviation" + (
        ", over fifths of axes with many values" if many else ""
    )
    handles = [
        Line2D([], [], color=COLOURS[0], marker="o", linestyle="none", alpha=0.45, label="members"),
        Line2D([], [], color="black", marker="D", label=meaning),
    ]
    if panel.rows["best_value"].isna().any():
        crosses = {"marker": "x", "markeredgewidth": 2, "linestyle": "none"}
        handles.append(Line2D([], [], color=FAILED_COLOUR, label="failed: no value", **crosses))
    grid[0].figure.legend(
        handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=13
    )


def draw_effect(axes: Axes, panel: ScoredAlike, key: str) -> None:
    """Draw each member as a point, and the mean over the values of all other keys with its spread.

    Members without a value are crosses on the axis.
    """
    scale = key_scale(panel.rows[key])
    measured = panel.measured.assign(place=[scale.place(text) for text in panel.measured[key]])
    axes.plot(
        measured["place"] + jitter(measured), measured["best_value"], "o", color=COLOURS[0],
        alpha=0.45, markersize=8, markeredgewidth=0,
    )  # fmt: skip
    # Values drawn from a range hardly ever occur twice: means are over fifths of the axis.
    where = measured["place"]
    if scale.continuous:
        where = (np.floor(where * PARTS).clip(0, PARTS - 1) + 0.5) / PARTS
    means = measured.groupby(where)["best_value"].agg(["mean", "std"])
    axes.errorbar(
        means.index, means["mean"], means["std"].fillna(0), color="black", marker="D",
        markersize=8, capsize=6, linewidth=2, markeredgecolor="white", zorder=4,
    )  # fmt: skip
    failed = panel.rows[panel.rows["best_value"].isna()]
    if not failed.empty:
        places = np.array([scale.place(text) for text in failed[key]]) + jitter(failed)
        axes.plot(
            places, np.full(len(places), 0.03), "x", color=FAILED_COLOUR, markersize=9,
            markeredgewidth=2, transform=axes.get_xaxis_transform(), clip_on=False, zorder=5,
        )  # fmt: skip
    set_ticks(axes, scale)


def set_ticks(axes: Axes, scale: KeyScale) -> None:
    """Write the values of a key along the horizontal axis."""
    ticks = scale.ticks()
    axes.set_xlim(-0.1, 1.1)
    longest = max(len(label) for _, label in ticks)
    places = [place for place, _ in ticks]
    tilted = len(ticks) > 1 and longest > CHARACTERS * np.diff(places).min()
    axes.set_xticks(
        places, [label for _, label in ticks],
        rotation=30 if tilted else 0, ha="right" if tilted else "center",
    )  # fmt: skip
    axes.margins(y=0.12)
    axes.grid(axis="x", visible=False)
    if scale.logarithmic:
        axes.annotate(
            "log axis", (1, 1), xytext=(0, 5), xycoords="axes fraction", fontsize=11,
            textcoords="offset points", color="0.4", ha="right",
        )  # fmt: skip


def jitter(rows: pd.DataFrame) -> np.ndarray:
    """Return small horizontal shifts, the same at each drawing, that keep equal values apart."""
    return JITTER * np.resize([-1.0, 0.0, 1.0, -0.5, 0.5], len(rows))
