"""The figures of the throughput benchmark: speed and memory against the batch of a process."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpm_bench.report.figures.style import PANEL_WIDTH, empty_figure, house_style
from ddpm_bench.report.text import number
from ddpm_bench.throughput.report.figure_style import (
    PRECISION_DASHES,
    PRECISION_MARKERS,
    STRATEGY_COLOURS,
    band_inches,
    band_rows,
    draw_band,
    drawn_cells,
    in_strategy_order,
    name_panel,
    nothing_measured,
    precision_handles,
    processes_text,
    sample_text,
    say_in_panel,
    scale_doublings,
    scale_values,
    status_handles,
    strategy_handles,
    write_legend,
)
from ddpm_bench.throughput.report.scaling_figures import communication_share, scaling_efficiency

PANEL_INCHES = 3.2  # height of what a panel draws, without its band
WIDTHS = {1: PANEL_WIDTH, 2: PANEL_WIDTH + 1.5, 3: 18.0, 4: 22.0}  # inches, by panels side by side
MEMORY_TEXTS = {"GPU, allocated": "MB of a GPU", "process, resident": "MB of a process"}
FEW = 2  # points of a panel that have their values beside them


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


def panels_of_batches(
    cells: pd.DataFrame, title: str, columns: tuple[str, str, str], top: bool
) -> Figure:
    """Panels by model and by processes, with one y axis for all of a model.

    cells: with `fails`, which marks the cells of bands; columns: of the value, and of the ends of
    its bar; top: whether the bands stand at the top.
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
            limits = value_limits(model, columns)
            for axes, panel in zip(places, panels, strict=False):
                draw_panel(axes, panel, columns, limits, band / (PANEL_INCHES + band), top)
            for axes in places[len(panels) :]:
                axes.remove()
        shown = cells[cells["fails"] | cells[columns[0]].notna()]
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
    """How many panels stand side by side, and the figure's width in inches.

    With several nodes a row is of one number of nodes, and a column of processes of a node.
    """
    settings = cells[["panel", "nodes", "processes"]].drop_duplicates()
    most = settings.groupby("panel").size().max()
    if cells["nodes"].nunique() > 1 and cells["processes"].nunique() > 1:
        most = min(most, cells["processes"].nunique())
    across = most if most <= 4 else 4 if most % 3 else 3
    return across, WIDTHS[across]


def value_limits(cells: pd.DataFrame, columns: tuple[str, str, str]) -> tuple[float, float]:
    """The lowest and the highest that is drawn; 0 and 1 where nothing is."""
    low, high = cells[columns[1]].min(), cells[columns[2]].max()
    return (0.0, 1.0) if pd.isna(high) else (low, high)


def value_label(axes: Axes, cells: pd.DataFrame, column: str) -> str:
    """What a y axis shows, in which unit."""
    log = ", log axis" if axes.get_yscale() == "log" else ""
    if column == "samples_per_second":
        return f"{sample_text(cells)} per second{log}"
    kinds = {MEMORY_TEXTS[kind] for kind in cells["memory"] if kind}
    return f"peak {kinds.pop() if len(kinds) == 1 else 'MB of a process'}{log}"


def draw_panel(
    axes: Axes,
    cells: pd.DataFrame,
    columns: tuple[str, str, str],
    limits: tuple[float, float],
    band: float,
    top: bool,
) -> None:
    """Curves of a value against batch size, and the band of cells that have none."""
    first, failed = cells.iloc[0], band_rows(cells, "precision", "batch_size")
    height = band if failed else 0.0
    shown = cells[cells["fails"] | cells[columns[0]].notna()]
    scale_doublings(axes, (cells if shown.empty else shown)["batch_size"])
    scale_values(axes, *limits, 0 if top else height, height if top else 0)
    if cells[columns[0]].notna().any():
        draw_curves(axes, cells, columns)
    elif not failed:
        say_in_panel(axes, "No cell of these could be measured.")
    if failed:
        draw_band(axes, failed, "batch_size", height, top)
    where = processes_text(first["processes"], first["nodes"])
    name_panel(axes, f"{first['panel']}, {where}", value_label(axes, cells, columns[0]))
    axes.set(xlabel="batch of each process", ylabel="")


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
    if len(drawn) <= FEW:
        for _, row in drawn.iterrows():
            axes.annotate(
                number(row[middle], 3), (row["batch"], row[middle]), xytext=(10, 0),
                textcoords="offset points", va="center", fontsize=13,
            )  # fmt: skip


def apart(rows: pd.DataFrame) -> np.ndarray:
    """Factors of batch size that set strategies apart, the more the fewer batches there are."""
    names = in_strategy_order(rows["strategy"])
    octaves = (0.5 if rows["batch_size"].nunique() <= 3 else 0.25) * min(1, (len(names) - 1) / 4)
    offsets = dict(zip(names, np.linspace(-octaves / 2, octaves / 2, len(names)), strict=True))
    return 2.0 ** rows["strategy"].map(offsets).to_numpy()
