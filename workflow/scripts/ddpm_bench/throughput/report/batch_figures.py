"""Figures of speed and memory against the batch of a process."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpm_bench.report.figures.style import PANEL_WIDTH, empty_figure, house_style
from ddpm_bench.report.text import number
from ddpm_bench.throughput.report.drawn_cells import (
    drawn_cells,
    nothing_measured,
    processes_text,
    sample_text,
)
from ddpm_bench.throughput.report.figure_style import (
    PRECISION_DASHES,
    PRECISION_MARKERS,
    STRATEGY_COLOURS,
    in_strategy_order,
    precision_handles,
    status_handles,
    strategy_handles,
    write_legend,
)
from ddpm_bench.throughput.report.panels import (
    NOTHING,
    band_inches,
    band_rows,
    draw_band,
    scale_doublings,
    scale_values,
    write_in_place_of_curves,
    write_titles,
)
from ddpm_bench.throughput.report.scaling_figures import communication_share, scaling_efficiency

PANEL_INCHES = 3.2  # height of a panel without its band
WIDTHS = {1: PANEL_WIDTH, 2: PANEL_WIDTH + 1.5, 3: 18.0, 4: 22.0}  # inches, by panels side by side
MEMORY_TEXTS = {"GPU, allocated": "MB of a GPU", "process, resident": "MB of a process"}
FEW = 2  # points of a panel up to which their values are written beside them


@dataclass(frozen=True)
class BatchQuantity:
    """Columns of the quantity that is drawn against batch size: its value, and its error bar's
    ends."""

    value: str
    low: str
    high: str


SPEED = BatchQuantity("samples_per_second", "slow", "fast")
MEMORY = BatchQuantity("peak_memory_mb", "peak_memory_mb", "peak_memory_mb")


def throughput_figures(table: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of tables.throughput_table, each with its file name."""
    cells = drawn_cells(table)
    yield "throughput_vs_batch.png", throughput_vs_batch(cells)
    yield "scaling_efficiency.png", scaling_efficiency(cells)
    yield "memory_vs_batch.png", memory_vs_batch(cells)
    yield "communication_share.png", communication_share(cells)


def throughput_vs_batch(cells: pd.DataFrame) -> Figure:
    """Draw samples per second of all processes against samples of each.

    There is a panel for each model and number of processes and nodes. Cells that are not ok are
    marks in a band at the foot. cells: of drawn_cells.drawn_cells.
    """
    title = "Throughput against batch size"
    if not (cells["status"] == "ok").any():
        return empty_figure(title, nothing_measured(cells))
    marked = cells.assign(fails=cells["status"] != "ok")
    return panels_of_batches(marked, title, SPEED, top=False)


def memory_vs_batch(cells: pd.DataFrame) -> Figure:
    """Draw the peak memory of a process against its batch.

    At the top are marks of the first batches that did not fit. cells: of drawn_cells.drawn_cells.
    """
    title = "Memory against batch size"
    if not cells["status"].isin(["ok", "out of memory"]).any():
        return empty_figure(title, nothing_measured(cells))
    full = cells[cells["status"] == "out of memory"]
    curve = ["panel", "strategy", "precision", "processes", "nodes"]
    first = full.groupby(curve)["batch_size"].idxmin()
    marked = cells.assign(fails=cells.index.isin(first))
    return panels_of_batches(marked, title, MEMORY, top=True)


def panels_of_batches(
    cells: pd.DataFrame, title: str, quantity: BatchQuantity, top: bool
) -> Figure:
    """Draw panels by model and by processes, with one y axis for all panels of a model.

    cells: with the flag `fails` of the cells in bands; top: bands are at the top of the panels.
    """
    models = [rows for _, rows in cells.groupby("panel", sort=False)]
    across, width = layout(cells)
    rows = [
        (model, panels[start : start + across])
        for model in models
        for panels in [[panel for _, panel in model.groupby(["nodes", "processes"], sort=True)]]
        for start in range(0, len(panels), across)
    ]
    bands = [band_inches(panels, "precision", "batch_size") for _, panels in rows]
    heights = [PANEL_INCHES + 1.3 + band for band in bands]
    with house_style():
        figure = Figure((width, max(sum(heights) + 0.8, 6.5)), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12, hspace=0.03)
        figure.suptitle(title, fontsize=21, fontweight="bold")
        grid = figure.subplots(len(rows), across, squeeze=False, height_ratios=heights)
        for places, (model, panels), band in zip(grid, rows, bands, strict=True):
            limits, share = value_limits(model, quantity), band / (PANEL_INCHES + band)
            for axes, panel in zip(places, panels, strict=False):
                draw_panel(axes, panel, quantity, limits=limits, band=share, top=top)
            for axes in places[len(panels) :]:
                axes.remove()
        shown = cells[cells["fails"] | cells[quantity.value].notna()]
        blocks = {
            "strategy": strategy_handles(shown["strategy"]),
            "precision": precision_handles(shown["precision"]),
            "does not fit" if top else "not measured": status_handles(
                cells["status"][cells["fails"]]
            ),
        }
        write_legend(figure, blocks, cells)
    return figure


def layout(cells: pd.DataFrame) -> tuple[int, float]:
    """Return how many panels stand side by side, and the figure's width in inches.

    With several nodes, each row has one number of nodes and each column one number of processes of
    a node.
    """
    settings = cells[["panel", "nodes", "processes"]].drop_duplicates()
    most = settings.groupby("panel").size().max()
    if cells["nodes"].nunique() > 1 and cells["processes"].nunique() > 1:
        most = min(most, cells["processes"].nunique())
    across = most if most <= 4 else 4 if most % 3 else 3
    return across, WIDTHS[across]


def value_limits(cells: pd.DataFrame, quantity: BatchQuantity) -> tuple[float, float]:
    """Return the lowest and the highest value drawn; 0 and 1 where there is none."""
    low, high = cells[quantity.low].min(), cells[quantity.high].max()
    return (0.0, 1.0) if pd.isna(high) else (low, high)


def value_label(axes: Axes, cells: pd.DataFrame, column: str) -> str:
    """Return the label of a y axis: quantity, unit and kind of scale."""
    log = ", log axis" if axes.get_yscale() == "log" else ""
    if column == "samples_per_second":
        return f"{sample_text(cells)} per second{log}"
    kinds = {MEMORY_TEXTS[kind] for kind in cells["memory"] if kind}
    return f"peak {kinds.pop() if len(kinds) == 1 else 'MB of a process'}{log}"


def draw_panel(
    axes: Axes,
    cells: pd.DataFrame,
    quantity: BatchQuantity,
    *,
    limits: tuple[float, float],
    band: float,
    top: bool,
) -> None:
    """Draw curves of a quantity against batch size, and the band of failed cells.

    limits: the lowest and highest value of the y axis; band: the band's share of the panel's height
    if it has one; top: the band is at the top.
    """
    first, failed = cells.iloc[0], band_rows(cells, "precision", "batch_size")
    height = band if failed else 0.0
    shown = cells[cells["fails"] | cells[quantity.value].notna()]
    scale_doublings(axes, (cells if shown.empty else shown)["batch_size"])
    below, above = (0, height) if top else (height, 0)
    scale_values(axes, *limits, below=below, above=above)
    if cells[quantity.value].notna().any():
        draw_curves(axes, cells, quantity)
    elif not failed:
        write_in_place_of_curves(axes, NOTHING)
    if failed:
        draw_band(axes, failed, "batch_size", height, top)
    where = processes_text(first["processes"], first["nodes"])
    write_titles(axes, f"{first['panel']}, {where}", value_label(axes, cells, quantity.value))
    axes.set(xlabel="batch of each process", ylabel="")


def draw_curves(axes: Axes, cells: pd.DataFrame, quantity: BatchQuantity) -> None:
    """Draw a line for each strategy and precision, interrupted where a cell has no value.

    Strategies are set a little apart, so that none hides another.
    """
    middle, low, high = quantity.value, quantity.low, quantity.high
    ordered = cells.sort_values(["strategy", "precision", "batch_size"])
    missing = ordered[middle].isna()
    drawn = ordered.assign(stretch=missing.cumsum())[~missing]
    drawn = drawn.assign(batch=drawn["batch_size"] * apart(drawn))
    sns.lineplot(
        drawn, x="batch", y=middle, hue="strategy", style="precision", units="stretch",
        estimator=None, legend=False, ax=axes, linewidth=1.8, markersize=8,
        palette=STRATEGY_COLOURS, markers=PRECISION_MARKERS, dashes=PRECISION_DASHES,
    )  # fmt: skip
    for strategy, rows in drawn.groupby("strategy"):
        axes.errorbar(
            rows["batch"], rows[middle], [rows[middle] - rows[low], rows[high] - rows[middle]],
            color=STRATEGY_COLOURS[strategy], fmt="none", elinewidth=1.4, capsize=0,
        )  # fmt: skip
    if len(drawn) <= FEW:
        for _, row in drawn.iterrows():
            axes.annotate(
                number(row[middle], 3), (row["batch"], row[middle]), xytext=(10, 0),
                textcoords="offset points", va="center", fontsize=13,
            )  # fmt: skip


def apart(rows: pd.DataFrame) -> np.ndarray:
    """Return factors of batch size that set strategies apart, wider where there are few batches."""
    names = in_strategy_order(rows["strategy"])
    octaves = (0.5 if rows["batch_size"].nunique() <= 3 else 0.25) * min(1, (len(names) - 1) / 4)
    offsets = dict(zip(names, np.linspace(-octaves / 2, octaves / 2, len(names)), strict=True))
    return 2.0 ** rows["strategy"].map(offsets).to_numpy()
