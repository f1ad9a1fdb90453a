"""The figure of a sweep's ranking: means over seeds, their spread, each seed, and failures."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ddpm_bench.config.reporting import SweepStage
from ddpm_bench.config.sweep_members import short_names
from ddpm_bench.report.figures.axes import label_plainly
from ddpm_bench.report.figures.style import (
    COLOURS,
    PANEL_WIDTH,
    empty_figure,
    house_style,
    new_figure,
    write_notes,
)
from ddpm_bench.report.sweeps.key_scales import shown
from ddpm_bench.report.sweeps.sweep_panels import (
    FAILED_COLOUR,
    NO_SCORES,
    ScoredAlike,
    scored_alike,
    short_reason,
    write_title,
)
from ddpm_bench.report.sweeps.sweep_ranking import BEST, TIED, UNKNOWN, WITHIN, WORSE, ranked
from ddpm_bench.report.sweeps.sweep_table import setting_keys
from ddpm_bench.report.text import number

MOST_SETTINGS = 40  # of a panel
ROW_HEIGHT, AROUND = 0.5, 2.6  # inches
LONGEST_NAME = 46  # characters of a line
COLOUR_OF = {
    BEST: COLOURS[2],
    TIED: COLOURS[2],
    WITHIN: COLOURS[0],
    WORSE: "0.45",
    UNKNOWN: COLOURS[4],
}
MEANINGS = {
    BEST: "the best mean",
    TIED: "tied for the best mean",
    WITHIN: "within noise: may be the best (p ≥ 0.05)",
    WORSE: "worse than the best (p < 0.05)",
    UNKNOWN: "not known: one seed",
}


def ranking_figure(stage: SweepStage, table: pd.DataFrame) -> Figure:
    """Draw a panel for each way to score; table: of `sweep_table`."""
    title = f"{stage.sweep}: settings, best first"
    panels = list(scored_alike(table))
    if not panels:
        return empty_figure(title, NO_SCORES)
    keys = setting_keys(stage)
    orders = [list(ranked(panel.rows, panel.metric, keys)) for panel in panels]
    heights = [AROUND + ROW_HEIGHT * min(len(order), MOST_SETTINGS) for order in orders]
    with house_style():
        figure = new_figure(title, PANEL_WIDTH + 2, sum(heights) + 1.2, hspace=0.04)
        grid = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
        for axes, panel, order in zip(grid, panels, orders, strict=True):
            draw_ranking(axes, panel, order, stage)
        write_legend(figure, orders)
    return figure


def draw_ranking(
    axes: Axes, panel: ScoredAlike, order: list[dict[str, object]], stage: SweepStage
) -> None:
    """Draw the settings from the best down: a diamond with a standard deviation, a dot per seed.

    order: rows of `sweep_ranking.ranked`.
    """
    rows, keys = order[:MOST_SETTINGS], setting_keys(stage)
    short = short_names(sorted(stage.swept.keys))
    names = [setting_label(row, keys, short) for row in rows]
    for place, row in enumerate(rows):
        if row["rank"] is pd.NA:
            draw_failed(axes, place, str(row["reason"]))
            continue
        own = panel.measured
        for key in keys:
            own = own[own[key] == row[key]]
        colour = COLOUR_OF[str(row["compared_with_best"])]
        axes.plot(
            own["best_value"], np.full(len(own), place), "o", color=colour, alpha=0.45,
            markersize=7, markeredgewidth=0, zorder=3,
        )  # fmt: skip
        axes.errorbar(
            row["mean"], place, xerr=row.get("std"), color=colour, marker="D", markersize=9,
            capsize=5, linewidth=2, markeredgecolor="white", zorder=4,
        )  # fmt: skip
        axes.annotate(
            mean_text(row), (1.01, place), xycoords=("axes fraction", "data"), va="center",
            fontsize=12.5, color="0.2", annotation_clip=False,
        )  # fmt: skip
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), names, fontsize=13)
    axes.set_xlabel(panel.label())
    axes.grid(axis="y", visible=False)
    widen(axes, panel)
    write_title(axes, panel)
    notes = []
    if any(row["seeds"] > 1 for row in rows):
        notes.append(
            "Diamonds are means over seeds, bars one standard deviation, dots single seeds."
        )
    if any(row["seeds"] > 1 for row in rows) and len(order) > 1:
        notes.append(
            "The first mean is selected as the best of several: new seeds would likely be a little "
            "worse. Each setting that is as good as the best is called worse in 5% of sweeps (Hsu)."
        )
    if len(order) > len(rows):
        notes.append(f"The first {len(rows)} of {len(order)} settings; ranking.csv has all.")
    write_notes(axes, notes)
    # Below an axis label of several lines.
    axes.texts[-1].set_position((0, -62 - 22 * axes.get_xlabel().count("\n")))


def draw_failed(axes: Axes, place: int, reason: str) -> None:
    """Write the reason why no seed of a setting has a value, in place of a mean."""
    status, _, why = reason.partition(": ")
    axes.annotate(
        f"✕ {short_reason(status, why)}", (0.01, place), xycoords=("axes fraction", "data"),
        va="center", fontsize=12.5, color=FAILED_COLOUR,
    )  # fmt: skip


def widen(axes: Axes, panel: ScoredAlike) -> None:
    """Begin the metric's axis at 0 if it cannot be negative, and leave room at its ends."""
    if panel.measured.empty:
        axes.set_xticks([])
        return
    axes.margins(x=0.06)
    if panel.metric.never_negative:
        axes.set_xlim(left=0)
    label_plainly(axes.xaxis)


def setting_label(row: dict[str, object], keys: list[str], short: dict[str, str]) -> str:
    """Return the values of a setting, wrapped into lines."""
    text = ", ".join(f"{short[key]} {shown(str(row[key]))}" for key in keys) or "all seeds"
    return "\n".join(textwrap.wrap(text, LONGEST_NAME))


def mean_text(row: dict[str, object]) -> str:
    """Return a mean with its spread and counts, like "0.0123 ± 0.0011, 3 seeds"."""
    text = number(float(row["mean"]))  # type: ignore[arg-type]
    if row.get("std") is not None:
        text += f" ± {number(row['std'], 2)}"
    if row["seeds"] != 1:
        text += f", {row['seeds']} seeds"
    if int(row.get("selected_of") or 1) > 1:  # type: ignore[call-overload]
        text += f", best of {row['selected_of']}"
    return text + (f", {row['failed']} failed" if row["failed"] else "")


def write_legend(figure: Figure, orders: list[list[dict[str, object]]]) -> None:
    """Write the meanings of the colours that occur."""
    found = {row.get("compared_with_best") for order in orders for row in order}
    style = {"marker": "D", "linestyle": "none", "markersize": 9}
    handles = [
        Line2D([], [], color=COLOUR_OF[kind], label=meaning, **style)
        for kind, meaning in MEANINGS.items()
        if kind in found
    ]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), frameon=False,
            fontsize=13, handletextpad=0.3,
        )  # fmt: skip
