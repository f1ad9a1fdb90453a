"""Figures of many processes: scaling efficiency, and time and bytes of communication."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ddpm_bench.report.figures.style import PANEL_WIDTH, empty_figure, house_style
from ddpm_bench.throughput.report.drawn_cells import nothing_measured
from ddpm_bench.throughput.report.figure_style import (
    batch_markers,
    batch_shades,
    shade,
    status_handles,
    strategy_handles,
    write_legend,
)
from ddpm_bench.throughput.report.panels import NOTHING, band_inches
from ddpm_bench.throughput.report.scaling_panels import (
    Quantity,
    ScalingPanel,
    on_fewest_nodes,
)

PANEL_INCHES = 2.9  # height of a panel without its band

WEAK = Quantity(
    "weak_efficiency", "weak efficiency: over single at the same batch per process",
    "No single with the same batch per process was measured.", perfect=1.0,
)  # fmt: skip
STRONG = Quantity(
    "strong_efficiency", "strong efficiency: over single at the same global batch",
    "No single with the same global batch was measured.", perfect=1.0,
)  # fmt: skip
SHARE = Quantity(
    "communication_share", "communication, share of a step's time", NOTHING, percent=True
)
SENT = Quantity("sent_mb_per_step", "MB a process sends per step", NOTHING, named=True)


def scaling_efficiency(cells: pd.DataFrame) -> Figure:
    """Draw weak and strong efficiency side by side; cells: of drawn_cells.drawn_cells."""
    return panel_pairs(cells, "Scaling efficiency", (WEAK, STRONG))


def communication_share(cells: pd.DataFrame) -> Figure:
    """Draw the share of time in communication, and beside it the bytes that a process sends in a
    step; cells: of drawn_cells.drawn_cells."""
    return panel_pairs(cells, "Communication", (SHARE, SENT))


def panel_pairs(cells: pd.DataFrame, title: str, quantities: tuple[Quantity, Quantity]) -> Figure:
    """Draw two quantities of all cells of several processes, a row of panels for each model and
    precision: bars where all have one number of processes, else lines against that number."""
    many = cells[(cells["world"] > 1) & (cells["strategy"] != "single")]
    if many.empty:
        return empty_figure(title, "No cell has several processes.")
    if not (many["status"] == "ok").any():
        return empty_figure(title, nothing_measured(many))
    lines = many["world"].nunique() > 1
    groups = panels_of(cells, many, lines=lines, alone=quantities[0].perfect is not None)
    batches = many["batch_size"].unique()
    bands = [band_inches([rows], "batch_size", "world") if lines else 0.0 for rows in groups]
    heights = [PANEL_INCHES + 1.5 + band for band in bands]
    with house_style():
        figure = Figure((PANEL_WIDTH + 1.5, max(sum(heights) + 0.8, 6.5)), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12, hspace=0.03)
        figure.suptitle(title, fontsize=21, fontweight="bold")
        grid = figure.subplots(len(groups), 2, squeeze=False, height_ratios=heights)
        for row, rows, band in zip(grid, groups, bands, strict=True):
            share = band / (PANEL_INCHES + band) if lines else None
            for axes, quantity in zip(row, quantities, strict=True):
                ScalingPanel(axes, rows, quantity, batches).draw(share)
        shown = pd.concat(groups)
        blocks = {
            "strategy": strategy_handles(shown["strategy"]),
            "batch of a process": batch_handles(batches, lines=lines),
            "open marks": more_nodes(many) if lines else [],
            "not measured": status_handles(shown["status"]),
        }
        write_legend(figure, blocks, many)
    return figure


def panels_of(
    cells: pd.DataFrame, many: pd.DataFrame, lines: bool, alone: bool
) -> list[pd.DataFrame]:
    """Return the cells of each row of panels, with the flag `fails`.

    many: the cells of several processes; lines: quantities are drawn against the number of
    processes; alone: one process is drawn too, which it is not for communication.
    """
    shown = cells[cells["strategy"] != "single"] if lines and alone else many
    shown = shown[shown["batch_size"].isin(many["batch_size"])]
    shown = shown.assign(fails=shown["status"] != "ok")
    key = ["panel", "precision", *([] if lines else ["nodes", "processes"])]
    return [rows for _, rows in shown.groupby(key, sort=False)]


def batch_handles(batches: np.ndarray, lines: bool) -> list[Line2D]:
    """Return the legend entries of batch sizes; lines: they are drawn as lines, not as bars."""
    shades, markers = batch_shades(batches), batch_markers(batches)
    return [
        Line2D(
            [], [], color=shade((0.2, 0.2, 0.2), shades[batch]), label=str(batch), markersize=9,
            marker=markers[batch] if lines else "s", linestyle="-" if lines else "none",
        )
        for batch in shades
    ]  # fmt: skip


def more_nodes(cells: pd.DataFrame) -> list[Line2D]:
    """Return the legend entry of cells on more nodes than others with as many processes, if any."""
    if on_fewest_nodes(cells).all():
        return []
    return [
        Line2D([], [], color="0.3", marker="o", markerfacecolor="white", linestyle="none",
               markeredgewidth=1.5, label="as many processes,\non more nodes")
    ]  # fmt: skip
