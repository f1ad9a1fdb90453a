"""The figures of many processes: how well they scale, and what they spend on communication."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from .house_style import PANEL_WIDTH, empty_figure, house_style, say_in_axes
from .throughput_looks import (
    STATUS_MARKERS,
    STRATEGY_COLOURS,
    batch_markers,
    batch_shades,
    in_strategy_order,
    processes_text,
    scale_doublings,
    scale_values,
    shade,
    status_handles,
    strategy_handles,
    write_legend,
)

PANEL_INCHES = 4.6
GROUP_WIDTH = 0.82  # of the bars of a strategy, of the distance between strategies


@dataclass(frozen=True)
class Quantity:
    """What one column of panels shows."""

    column: str
    title: str
    label: str  # of the y axis
    nothing: str  # said where no cell has a value
    perfect: float | None = None
    percent: bool = False
    named: bool = False  # whether values are written above bars


WEAK = Quantity(
    "weak_efficiency", "weak scaling", "samples/s per process, over\n`single` at the same batch",
    "No `single` cell with the batch of one process was measured here.", perfect=1.0,
)  # fmt: skip
STRONG = Quantity(
    "strong_efficiency", "strong scaling",
    "samples/s per process, over\n`single` at the global batch",
    "No `single` cell with the global batch was measured here.", perfect=1.0,
)  # fmt: skip
SHARE = Quantity(
    "communication_share", "time in communication", "share of a step's time",
    "No cell of these was measured.", percent=True,
)  # fmt: skip
SENT = Quantity(
    "sent_mb_per_step", "sent by a process", "MB per step", "No cell of these was measured.",
    named=True,
)  # fmt: skip


def scaling_efficiency(cells: pd.DataFrame) -> Figure:
    """Weak and strong efficiency side by side; cells: of throughput_looks.drawn_cells."""
    return panel_pairs(cells, "Scaling efficiency", (WEAK, STRONG))


def communication_share(cells: pd.DataFrame) -> Figure:
    """The share of time in communication, and beside it what a process sends in a step."""
    return panel_pairs(cells, "Communication", (SHARE, SENT))


def panel_pairs(
    cells: pd.DataFrame, title: str, quantities: tuple[Quantity, Quantity]
) -> Figure:
    """Two quantities of all cells of several processes, a row of panels for each model and
    precision: bars where all have one number of processes, else lines against that number."""
    many = cells[(cells["world"] > 1) & (cells["strategy"] != "single")]
    if many.empty:
        return empty_figure(title, "Every cell is of one process, or a cell `single`.")
    lines = many["world"].nunique() > 1
    key = ["panel", "precision", *([] if lines else ["nodes", "processes"])]
    shown = cells[cells["strategy"] != "single"] if lines else many
    shown = shown[shown["batch_size"].isin(many["batch_size"])]
    groups = [rows for _, rows in shown.groupby(key, sort=False)]
    batches = many["batch_size"].unique()
    with house_style():
        height = max(PANEL_INCHES * len(groups) + 0.8, 6.5)
        figure = Figure((PANEL_WIDTH + 1.5, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.14, hspace=0.03)
        figure.suptitle(title, fontsize=21, fontweight="bold")
        grid = figure.subplots(len(groups), 2, squeeze=False)
        for row, rows in zip(grid, groups, strict=True):
            for axes, quantity in zip(row, quantities, strict=True):
                draw_quantity(axes, rows, quantity, batches, lines)
        blocks = {
            "strategy": strategy_handles(many["strategy"]),
            "batch of a process": batch_handles(batches, lines),
            "not measured": status_handles(many["status"]),
        }
        write_legend(figure, blocks, many)
    return figure


def batch_handles(batches: np.ndarray, lines: bool) -> list[Line2D]:
    shades, markers = batch_shades(batches), batch_markers(batches)
    return [
        Line2D(
            [], [], color=shade((0.2, 0.2, 0.2), shades[batch]), label=str(batch), markersize=9,
            marker=markers[batch] if lines else "s", linestyle="-" if lines else "none",
        )
        for batch in shades
    ]  # fmt: skip


def draw_quantity(
    axes: Axes, rows: pd.DataFrame, quantity: Quantity, batches: np.ndarray, lines: bool
) -> None:
    """One quantity of one model and precision."""
    first = rows.iloc[0]
    where = "" if lines else f", {processes_text(first['processes'], first['nodes'])}"
    axes.set_title(
        f"{first['panel']}, {first['precision']}{where}\n{quantity.title}", loc="left", fontsize=15
    )
    axes.set_ylabel(quantity.label)
    if rows[quantity.column].notna().sum() == 0:
        say_in_axes(axes, quantity.nothing)
        return
    (draw_lines if lines else draw_bars)(axes, rows, quantity, batches)
    if quantity.perfect is not None:
        axes.axhline(quantity.perfect, color="0.25", linewidth=1.6, linestyle=(0, (5, 3)), zorder=1)
    if quantity.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def draw_bars(axes: Axes, rows: pd.DataFrame, quantity: Quantity, batches: np.ndarray) -> None:
    """A group of bars for each strategy, one for each batch; a mark where a cell is not ok."""
    strategies, shades = in_strategy_order(rows["strategy"]), batch_shades(batches)
    present = [batch for batch in shades if batch in set(rows["batch_size"])]
    width = GROUP_WIDTH / len(present)
    for _, cell in rows.iterrows():
        colour = STRATEGY_COLOURS[cell["strategy"]]
        place = strategies.index(cell["strategy"])
        place += (present.index(cell["batch_size"]) - (len(present) - 1) / 2) * width
        value = cell[quantity.column]
        if cell["status"] != "ok":
            axes.plot(
                [place], [0.03], STATUS_MARKERS[cell["status"]], color=colour, markersize=9,
                markeredgewidth=2 if cell["status"] == "unsupported" else 0.8, zorder=5,
                transform=axes.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip
        elif pd.notna(value):
            axes.bar(
                place, value, 0.94 * width, yerr=errors(cell, quantity), ecolor="0.2",
                color=shade(colour, shades[cell["batch_size"]]), linewidth=0, error_kw={"lw": 1.4},
            )  # fmt: skip
    top = highest(rows, quantity)
    axes.set_ylim(0, 1.12 * top)
    axes.set_xlim(-0.6, len(strategies) - 0.4)
    axes.set_xticks(
        range(len(strategies)), strategies, fontsize=13, rotation=30, ha="right",
        rotation_mode="anchor",
    )  # fmt: skip
    axes.grid(visible=False, axis="x")
    if quantity.named:
        name_values(axes, rows, quantity, strategies)


def highest(rows: pd.DataFrame, quantity: Quantity) -> float:
    """The top of what is drawn: the largest value, and the line of perfect scaling."""
    values = rows[quantity.column] * rows["samples_per_second_highest"] / rows["samples_per_second"]
    own = rows[quantity.column] if quantity.perfect is None else values
    return max(own.max(), quantity.perfect or 0.0, 1e-9)


def errors(cells: pd.DataFrame | pd.Series, quantity: Quantity) -> list | None:
    """How far efficiency reaches down and up over repetitions; None for other quantities."""
    if quantity.perfect is None:
        return None
    unit = cells[quantity.column] / cells["samples_per_second"]
    down = unit * (cells["samples_per_second"] - cells["samples_per_second_lowest"])
    up = unit * (cells["samples_per_second_highest"] - cells["samples_per_second"])
    return [np.atleast_1d(down), np.atleast_1d(up)]


def name_values(
    axes: Axes, rows: pd.DataFrame, quantity: Quantity, strategies: list[str]
) -> None:
    """Above each group of bars its value, or its lowest and highest."""
    for place, strategy in enumerate(strategies):
        values = rows.loc[rows["strategy"] == strategy, quantity.column].dropna()
        if len(values):
            ends = dict.fromkeys(f"{value:.3g}" for value in (values.min(), values.max()))
            axes.annotate(
                "\nto ".join(ends), (place, values.max()), xytext=(0, 4), fontsize=12, ha="center",
                textcoords="offset points", va="bottom",
            )  # fmt: skip
    axes.set_ylim(top=1.25 * highest(rows, quantity))


def draw_lines(axes: Axes, rows: pd.DataFrame, quantity: Quantity, batches: np.ndarray) -> None:
    """Lines against processes, on the fewest nodes that hold them; open marks on more nodes."""
    shades, markers = batch_shades(batches), batch_markers(batches)
    if quantity.perfect is None:
        rows = rows[rows["world"] > 1]  # one process communicates with nobody
    fewest = rows.groupby("world")["nodes"].transform("min")
    for (strategy, batch), own in rows.groupby(["strategy", "batch_size"]):
        colour = shade(STRATEGY_COLOURS[strategy], shades[batch])
        packed = own[own["nodes"] == fewest.loc[own.index]].sort_values("world")
        spread = own.drop(packed.index)
        sns.lineplot(
            packed, x="world", y=quantity.column, color=colour, marker=markers[batch], ax=axes,
            estimator=None, linewidth=1.8, markersize=8, legend=False,
        )  # fmt: skip
        axes.errorbar(
            packed["world"], packed[quantity.column], errors(packed, quantity), color=colour,
            fmt="none", elinewidth=1.4,
        )  # fmt: skip
        axes.plot(
            spread["world"], spread[quantity.column], markers[batch], markerfacecolor="white",
            markeredgecolor=colour, markersize=7, markeredgewidth=1.5, zorder=1.8,
        )  # fmt: skip
    scale_doublings(axes, rows["world"])
    axes.set_xlabel("processes")
    if quantity.named:
        values = rows[quantity.column].dropna()
        if scale_values(axes, values.min(), values.max(), 0, 0):
            axes.set_ylabel(f"{quantity.label}, log axis")
    else:
        axes.set_ylim(0, 1.1 * highest(rows, quantity))
