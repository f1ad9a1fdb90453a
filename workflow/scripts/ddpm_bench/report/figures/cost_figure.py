"""The figure of costs: wall time, GPU-hours and memory of each stage and experiment."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ddpm_bench.report.figures.style import (
    COLOURS,
    PANEL_WIDTH,
    empty_figure,
    house_style,
    new_figure,
    write_legend,
    write_notes,
)
from ddpm_bench.report.tables.cost_table import NOT_OF_ONE_EXPERIMENT, STAGES
from ddpm_bench.report.text import number, time_unit

NAMES = {
    "prepare": "preparing images", "train_classifier": "training the classifier",
    "reference_features": "reference features", "train": "training", "validate": "validation",
    "encode": "encoding latents", "reconstruct": "reconstructions", "sample": "sampling",
    "score": "scoring", "plot_trajectory": "denoising animations",
}  # fmt: skip
# The stages that take the most time have the most different colours.
STAGE_COLOURS = {
    stage: COLOURS[place]
    for stage, place in zip(STAGES, (7, 8, 9, 0, 4, 3, 6, 1, 2, 5), strict=True)
}
ROW_HEIGHT, MEMORY_ROW_HEIGHT = 0.42, 0.62  # inches
NOTES_SHOWN = 8
NOTE_ON_LATER_REQUESTS = (
    "Unless the profile sets other values, later jobs request what earlier ones used, with a "
    "margin."
)


def cost_figure(table: pd.DataFrame) -> Figure:
    """Draw three panels: wall time and GPU time stacked by stage, and memory, used and requested.

    table: `cost_table.costs_table`.
    """
    title = "Time and memory of the study"
    if table.empty:
        return empty_figure(title, "No job has a benchmark file.")
    rows = row_names(table)
    stages = [stage for stage in STAGES if stage in set(table["stage"])]
    has_gpus = table["gpu_hours"].sum() > 0
    panels = ["wall_hours", *(["gpu_hours"] if has_gpus else []), "memory"]
    stacked, spread = 1.6 + ROW_HEIGHT * len(rows), 1.6 + MEMORY_ROW_HEIGHT * len(rows)
    notes = [text for text in table["advice"].unique() if text]
    with house_style():
        height = stacked * (len(panels) - 1) + spread + 0.9 + 0.35 * min(len(notes), NOTES_SHOWN)
        figure = new_figure(title, PANEL_WIDTH, max(height, 6.0), hspace=0.04)
        ratios = [*[stacked] * (len(panels) - 1), spread]
        grid = figure.subplots(len(panels), squeeze=False, height_ratios=ratios)[:, 0]
        for axes, panel in zip(grid, panels, strict=True):
            if panel == "memory":
                draw_memory(axes, table, rows)
            else:
                draw_hours(axes, table, rows, column=panel)
            name_rows(axes, rows)
        name_stages(grid[0], stages)
        if not has_gpus:
            notes.insert(0, "No job held a GPU.")
        if len(notes) > NOTES_SHOWN:
            notes[NOTES_SHOWN:] = [f"{len(notes) - NOTES_SHOWN} more in costs.csv."]
        if notes:
            write_notes(grid[-1], [*notes, NOTE_ON_LATER_REQUESTS])
    return figure


def row_names(table: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return the labels of rows by (experiment, dataset): the shared datasets first."""
    pairs = list(dict.fromkeys(zip(table["experiment"], table["dataset"], strict=True)))
    shared = [pair for pair in pairs if pair[0] == NOT_OF_ONE_EXPERIMENT]
    own = [pair for pair in pairs if pair[0] != NOT_OF_ONE_EXPERIMENT]
    return {pair: f"dataset {pair[1]}" for pair in shared} | {pair: pair[0] for pair in own}


def name_rows(axes: Axes, rows: dict[tuple[str, str], str]) -> None:
    """Label the rows, the first at the top."""
    axes.set_yticks(range(len(rows)), list(rows.values()))
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first on top
    axes.grid(visible=False, axis="y")
    axes.set_xlim(left=0)


def draw_hours(
    axes: Axes,
    table: pd.DataFrame,
    rows: dict[tuple[str, str], str],
    *,
    column: str,
) -> None:
    """Draw bars of time stacked by stage, with their sums; column: wall_hours or gpu_hours."""
    sums = table.groupby(["experiment", "dataset"])[column].sum()
    factor, unit = time_unit(sums.max())
    for place, pair in enumerate(rows):
        left = 0.0
        for stage in STAGES:
            value = factor * hours(table, pair, stage, column)
            axes.barh(place, value, left=left, height=0.72, color=STAGE_COLOURS[stage], linewidth=0)
            left += value
        axes.annotate(
            number(left, 3), (left, place), xytext=(6, 0), textcoords="offset points",
            va="center", fontsize=13, color="0.25",
        )  # fmt: skip
    axes.set_xlim(0, 1.13 * factor * max(sums.max(), 1e-9))
    total = number(factor * table[column].sum(), 3)
    if column == "gpu_hours":
        axes.set_title(f"GPU time: {total} GPU-{unit}s in total", loc="left")
        axes.set_xlabel(f"GPU-{unit}s: wall time times GPUs of the job")
    else:
        axes.set_title(f"Wall time: {total} {unit}s in total", loc="left")
        axes.set_xlabel(f"{unit}s, summed over jobs")


def hours(table: pd.DataFrame, pair: tuple[str, str], stage: str, column: str) -> float:
    """Return the hours of one stage of one row, 0 if it has none."""
    found = (table["stage"] == stage) & (table["experiment"] == pair[0])
    return float(table.loc[found & (table["dataset"] == pair[1]), column].sum())


def draw_memory(axes: Axes, table: pd.DataFrame, rows: dict[tuple[str, str], str]) -> None:
    """Draw the largest job of each stage: filled marks for memory used, open ones for requests."""
    order = list(STAGES)
    places = {}
    for place, (experiment, dataset) in enumerate(rows):
        found = table[(table["experiment"] == experiment) & (table["dataset"] == dataset)]
        own = sorted(found["stage"], key=order.index)
        for stage, offset in zip(own, offsets(len(own)), strict=True):
            places[experiment, dataset, stage] = place + offset
        if place:
            axes.axhline(place - 0.5, color="0.9", linewidth=1, zorder=0)
    for _, row in table.iterrows():
        place = places[row["experiment"], row["dataset"], row["stage"]]
        colour = STAGE_COLOURS[row["stage"]]
        used, asked = row["peak_memory_gib"], row["requested_memory_gib"]
        if used == used and asked == asked:  # neither is NaN
            axes.plot([used, asked], [place, place], color=colour, linewidth=1.4, alpha=0.6)
        axes.plot(used, place, "o", color=colour, markersize=8, clip_on=False)
        axes.plot(
            asked, place, "o", markerfacecolor="white", markeredgecolor=colour, markersize=8,
            markeredgewidth=1.6,
        )  # fmt: skip
    axes.set_title("Peak memory of a job", loc="left")
    asked = table["requested_memory_gib"].notna().any()
    axes.set_xlabel("GiB" + (", filled: used; open: requested" if asked else ""))
    top = table[["peak_memory_gib", "requested_memory_gib"]].max().max()
    axes.set_xlim(0, 1.08 * top if top == top else 1)


def offsets(count: int) -> list[float]:
    """Return positions of `count` marks side by side within a row."""
    return [0.0] if count == 1 else [-0.32 + 0.64 * index / (count - 1) for index in range(count)]


def name_stages(axes: Axes, stages: list[str]) -> None:
    """Write the stages with their colours beside the first panel."""
    handles = [
        Line2D([], [], color=STAGE_COLOURS[stage], marker="s", linestyle="none", markersize=11,
               label=NAMES[stage])
        for stage in stages
    ]  # fmt: skip
    write_legend(axes, handles)
