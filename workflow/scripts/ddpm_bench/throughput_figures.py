"""The figures of the throughput benchmark: speed and memory against the batch of a process."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .house_style import PANEL_WIDTH, empty_figure, house_style, say_in_axes
from .scaling_figures import communication_share, scaling_efficiency
from .throughput_looks import (
    PRECISION_DASHES,
    PRECISION_MARKERS,
    STRATEGY_COLOURS,
    band_rows,
    draw_band,
    drawn_cells,
    in_strategy_order,
    precision_handles,
    processes_text,
    sample_text,
    scale_doublings,
    scale_values,
    status_handles,
    strategy_handles,
    write_legend,
)

ROW_INCHES = 0.25  # of a band of marks
PANEL_INCHES = 3.4  # height of what a panel draws, without its band
# Columns of panels up to so many settings of processes and nodes, and the figure's width.
LAYOUTS = ((2, 2, PANEL_WIDTH), (6, 3, 17.0), (10**9, 4, 21.0))


def throughput_figures(table: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """The figures of throughput_table.throughput_table, each under its file name."""
    cells = drawn_cells(table)
    yield "throughput_vs_batch.png", throughput_vs_batch(cells)
    yield "scaling_efficiency.png", scaling_efficiency(cells)
    yield "memory_vs_batch.png", memory_vs_batch(cells)
    yield "communication_share.png", communication_share(cells)


def throughput_vs_batch(cells: pd.DataFrame) -> Figure:
    """Samples per second of all processes against samples of each; cells: of drawn_cells.

    A panel for each model and number of processes and nodes. Cells that are not ok are marks in a
    band at the foot.
    """
    title = "Throughput against batch size"
    if not (cells["status"] == "ok").any():
        return empty_figure(title, nothing_measured(cells))
    marked = cells.assign(fails=cells["status"] != "ok")
    return panels_of_batches(marked, title, ("samples_per_second", "slow", "fast"), top=False)


def memory_vs_batch(cells: pd.DataFrame) -> Figure:
    """Peak memory of a process against its batch; at the top the first batches that did not fit."""
    title = "Memory against batch size"
    if not cells["status"].isin(["ok", "out of memory"]).any():
        return empty_figure(title, nothing_measured(cells))
    full = cells[cells["status"] == "out of memory"]
    curve = ["panel", "strategy", "precision", "processes", "nodes"]
    first = full.groupby(curve)["batch_size"].idxmin()
    marked = cells.assign(fails=cells.index.isin(first))
    columns = ("peak_memory_mb", "peak_memory_mb", "peak_memory_mb")
    return panels_of_batches(marked, title, columns, top=True)


def nothing_measured(cells: pd.DataFrame) -> str:
    """Why there is nothing to draw."""
    if cells.empty:
        return "The benchmark has no cells."
    counts = cells["status"].value_counts()
    listed = ", ".join(f"{count} {status}" for status, count in counts.items())
    reasons = cells["reason"][cells["reason"] != ""].value_counts()
    why = f" Most often: {reasons.index[0]}." if len(reasons) else ""
    return f"No cell could be measured: {listed}.{why}"


def panels_of_batches(
    cells: pd.DataFrame, title: str, columns: tuple[str, str, str], top: bool
) -> Figure:
    """Panels by model and by processes, with one y axis for all of a model.

    cells: with `fails`, which marks the cells of bands; columns: of the value, and of the ends of
    its bar; top: whether the bands stand at the top.
    """
    groups = [
        [panel for _, panel in rows.groupby(["nodes", "processes"], sort=True)]
        for _, rows in cells.groupby("panel", sort=False)
    ]
    most = max(map(len, groups))
    _, across, width = next(layout for layout in LAYOUTS if most <= layout[0])
    rows = [
        (group, panels[start : start + across])
        for group, panels in enumerate(groups)
        for start in range(0, len(panels), across)
    ]
    bands = [ROW_INCHES * max(len(band_rows(panel)) for panel in panels) for _, panels in rows]
    heights = [PANEL_INCHES + 1.1 + band for band in bands]
    with house_style():
        figure = Figure((width, max(sum(heights) + 0.8, 6.5)), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12, hspace=0.03)
        figure.suptitle(title, fontsize=21, fontweight="bold")
        grid = figure.subplots(len(rows), min(across, most), squeeze=False, height_ratios=heights)
        for places, (group, panels), band in zip(grid, rows, bands, strict=True):
            limits = value_limits(pd.concat(groups[group]), columns)
            for axes, panel in zip(places, panels, strict=False):
                draw_panel(axes, panel, columns, limits, band / (PANEL_INCHES + band), top)
            places[0].set_ylabel(value_label(places[0], pd.concat(groups[group]), columns[0]))
            for axes in places[len(panels) :]:
                axes.remove()
        blocks = {
            "strategy": strategy_handles(cells["strategy"]),
            "precision": precision_handles(cells["precision"]),
            "not measured": status_handles(cells["status"][cells["fails"]]),
        }
        write_legend(figure, blocks, cells)
    return figure


def value_limits(cells: pd.DataFrame, columns: tuple[str, str, str]) -> tuple[float, float]:
    """The lowest and the highest that is drawn; 0 and 1 where nothing is."""
    low, high = cells[columns[1]].min(), cells[columns[2]].max()
    return (0.0, 1.0) if pd.isna(high) else (low, high)


def value_label(axes: Axes, cells: pd.DataFrame, column: str) -> str:
    """The label of a y axis: what it shows, in which unit."""
    log = ", log axis" if axes.get_yscale() == "log" else ""
    if column == "samples_per_second":
        return f"{sample_text(cells)} per second{log}"
    kinds = {kind for kind in cells["memory"] if kind}
    kind = f"({kinds.pop()})" if len(kinds) == 1 else ""
    return f"peak MB of a process{log}\n{kind}"


def draw_panel(
    axes: Axes,
    cells: pd.DataFrame,
    columns: tuple[str, str, str],
    limits: tuple[float, float],
    band: float,
    top: bool,
) -> None:
    """Curves of a value against batch size, and the band of cells that have none."""
    first, failed = cells.iloc[0], band_rows(cells)
    axes.set_title(
        f"{first['panel']}\n{processes_text(first['processes'], first['nodes'])}", loc="left",
        fontsize=15,
    )  # fmt: skip
    measured = cells.dropna(subset=[columns[0]])
    if measured.empty and not failed:
        say_in_axes(axes, "no cell of these was measured")
        return
    height = band if failed else 0.0
    scale_doublings(axes, cells["batch_size"])
    scale_values(axes, *limits, 0 if top else height, height if top else 0)
    if not measured.empty:
        draw_curves(axes, cells, columns)
    if failed:
        draw_band(axes, failed, height, top)
    axes.set_xlabel("batch of each process")


def draw_curves(axes: Axes, cells: pd.DataFrame, columns: tuple[str, str, str]) -> None:
    """A line for each strategy and precision, which breaks where a cell has no value; strategies
    stand a little apart, so that none hides another."""
    middle, low, high = columns
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


def apart(rows: pd.DataFrame) -> np.ndarray:
    """Factors of batch size that set strategies apart, the more the fewer batches there are."""
    names = in_strategy_order(rows["strategy"])
    octaves = (0.5 if rows["batch_size"].nunique() <= 3 else 0.25) * min(1, (len(names) - 1) / 4)
    offsets = dict(zip(names, np.linspace(-octaves / 2, octaves / 2, len(names)), strict=True))
    return 2.0 ** rows["strategy"].map(offsets).to_numpy()
