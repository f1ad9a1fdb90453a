"""The figures of many processes: how well they scale, and what they spend on communication."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from ddpm_bench.report.figures.style import PANEL_WIDTH, empty_figure, house_style
from ddpm_bench.throughput.report.figure_style import (
    STATUS_MARKERS,
    STRATEGY_COLOURS,
    band_inches,
    band_rows,
    batch_markers,
    batch_shades,
    draw_band,
    in_strategy_order,
    name_panel,
    nothing_measured,
    processes_text,
    say_in_panel,
    scale_doublings,
    scale_values,
    shade,
    status_handles,
    status_size,
    strategy_handles,
    write_legend,
)

PANEL_INCHES = 2.9  # height of what a panel draws, without its band
NOTHING = "No cell of these could be measured."
GROUP_WIDTH = 0.82  # of the bars of a strategy, of the distance between strategies


@dataclass(frozen=True)
class Quantity:
    """What one column of panels shows."""

    column: str
    title: str
    nothing: str  # said where cells are ok, but none has a value
    perfect: float | None = None
    percent: bool = False
    named: bool = False  # whether values are written above bars


WEAK = Quantity(
    "weak_efficiency", "weak efficiency: over single at the same batch per process",
    "No cell single with the batch of one process was measured here.", perfect=1.0,
)  # fmt: skip
STRONG = Quantity(
    "strong_efficiency", "strong efficiency: over single at the same global batch",
    "No cell single with the global batch was measured here.", perfect=1.0,
)  # fmt: skip
SHARE = Quantity(
    "communication_share", "communication, share of a step's time",
    NOTHING, percent=True,
)  # fmt: skip
SENT = Quantity(
    "sent_mb_per_step", "MB a process sends per step", NOTHING,
    named=True,
)  # fmt: skip


def scaling_efficiency(cells: pd.DataFrame) -> Figure:
    """Weak and strong efficiency side by side; cells: of throughput_looks.drawn_cells."""
    return panel_pairs(cells, "Scaling efficiency", (WEAK, STRONG))


def communication_share(cells: pd.DataFrame) -> Figure:
    """The share of time in communication, and beside it what a process sends in a step."""
    return panel_pairs(cells, "Communication", (SHARE, SENT))


def panel_pairs(cells: pd.DataFrame, title: str, quantities: tuple[Quantity, Quantity]) -> Figure:
    """Two quantities of all cells of several processes, a row of panels for each model and
    precision: bars where all have one number of processes, else lines against that number."""
    many = cells[(cells["world"] > 1) & (cells["strategy"] != "single")]
    if many.empty:
        return empty_figure(title, "No cell has several processes.")
    if not (many["status"] == "ok").any():
        return empty_figure(title, nothing_measured(many))
    lines = many["world"].nunique() > 1
    groups = panels_of(cells, many, lines, alone=quantities[0].perfect is not None)
    batches = many["batch_size"].unique()
    bands = [band_inches([rows], "batch_size", "world") if lines else 0.0 for rows in groups]
    heights = [PANEL_INCHES + 1.5 + band for band in bands]
    with house_style():
        figure = Figure((PANEL_WIDTH + 1.5, max(sum(heights) + 0.8, 6.5)), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12, hspace=0.03)
        figure.suptitle(title, fontsize=21, fontweight="bold")
        grid = figure.subplots(len(groups), 2, squeeze=False, height_ratios=heights)
        for row, rows, band in zip(grid, groups, bands, strict=True):
            for axes, quantity in zip(row, quantities, strict=True):
                share = band / (PANEL_INCHES + band) if lines else None
                draw_quantity(axes, rows, quantity, batches, share)
        shown = pd.concat(groups)
        blocks = {
            "strategy": strategy_handles(shown["strategy"]),
            "batch of a process": batch_handles(batches, lines),
            "open marks": more_nodes(many) if lines else [],
            "not measured": status_handles(shown["status"]),
        }
        write_legend(figure, blocks, many)
    return figure


def panels_of(
    cells: pd.DataFrame, many: pd.DataFrame, lines: bool, alone: bool
) -> list[pd.DataFrame]:
    """The cells of each row of panels, with `fails`; many: those of several processes.

    lines: whether they are drawn against the number of processes; alone: whether with one process
    too. One process communicates with nobody.
    """
    shown = cells[cells["strategy"] != "single"] if lines and alone else many
    shown = shown[shown["batch_size"].isin(many["batch_size"])]
    shown = shown.assign(fails=shown["status"] != "ok")
    key = ["panel", "precision", *([] if lines else ["nodes", "processes"])]
    return [rows for _, rows in shown.groupby(key, sort=False)]


def batch_handles(batches: np.ndarray, lines: bool) -> list[Line2D]:
    shades, markers = batch_shades(batches), batch_markers(batches)
    return [
        Line2D(
            [], [], color=shade((0.2, 0.2, 0.2), shades[batch]), label=str(batch), markersize=9,
            marker=markers[batch] if lines else "s", linestyle="-" if lines else "none",
        )
        for batch in shades
    ]  # fmt: skip


def more_nodes(cells: pd.DataFrame) -> list[Line2D]:
    """The entry of cells on more nodes than others with as many processes; none without such."""
    if on_fewest_nodes(cells).all():
        return []
    return [
        Line2D([], [], color="0.3", marker="o", markerfacecolor="white", linestyle="none",
               markeredgewidth=1.5, label="as many processes,\non more nodes")
    ]  # fmt: skip


def draw_quantity(
    axes: Axes, rows: pd.DataFrame, quantity: Quantity, batches: np.ndarray, band: float | None
) -> None:
    """One quantity of one model and precision.

    band: of lines against processes, the share of the panel that marks take; None for bars.
    """
    first = rows.iloc[0]
    where = "" if band is not None else f", {processes_text(first['processes'], first['nodes'])}"
    title, shown = f"{first['panel']}, {first['precision']}{where}", quantity.title
    has_value, is_ok = rows[quantity.column].notna(), rows["status"] == "ok"
    note = ""
    if not has_value.any():
        say_in_panel(axes, quantity.nothing if is_ok.any() else NOTHING)
    else:
        if band is None:
            draw_bars(axes, rows, quantity, batches)
        else:
            draw_lines(axes, rows, quantity, batches, band)
        if quantity.perfect is not None:
            perfect = {"color": "0.25", "linewidth": 1.6, "linestyle": (0, (5, 3)), "zorder": 1}
            axes.axhline(quantity.perfect, **perfect)
        alone = int((~has_value & is_ok).sum())
        note = f"{alone} cell{'s' if alone > 1 else ''} without that single" if alone else ""
    shown += ", log axis" if axes.get_yscale() == "log" else ""
    if quantity.percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
    axes.set_ylabel("")
    name_panel(axes, title, shown, note=note)


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
                [place], [0.03], STATUS_MARKERS[cell["status"]], color=colour,
                transform=axes.get_xaxis_transform(), clip_on=False, zorder=5,
                **status_size(cell["status"]),
            )  # fmt: skip
        elif pd.notna(value):
            axes.bar(
                place, value, 0.94 * width, yerr=errors(cell, quantity), ecolor="0.2",
                color=shade(colour, shades[cell["batch_size"]]), linewidth=0, error_kw={"lw": 1.4},
            )  # fmt: skip
    top = highest(rows, quantity)
    axes.set_ylim(0, 1.12 * top)
    axes.set_xlim(-0.6, len(strategies) - 0.4)
    turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(
        range(len(strategies)), strategies, fontsize=13, **(turned if len(strategies) > 4 else {})
    )
    axes.grid(visible=False, axis="x")
    if quantity.named:
        name_values(axes, rows, quantity, strategies)


def highest(rows: pd.DataFrame, quantity: Quantity) -> float:
    """The top of what is drawn; of efficiencies the same for both, and never below perfect."""
    if quantity.perfect is None:
        return max(rows[quantity.column].max(), 1e-9)
    best = rows[[WEAK.column, STRONG.column]].max(axis=1)
    reach = best * rows["samples_per_second_highest"] / rows["samples_per_second"]
    return max(reach.max(), quantity.perfect)


def errors(cells: pd.DataFrame | pd.Series, quantity: Quantity) -> list | None:
    """How far efficiency reaches down and up over repetitions; None for other quantities."""
    if quantity.perfect is None:
        return None
    unit = cells[quantity.column] / cells["samples_per_second"]
    down = unit * (cells["samples_per_second"] - cells["samples_per_second_lowest"])
    up = unit * (cells["samples_per_second_highest"] - cells["samples_per_second"])
    return [np.atleast_1d(down), np.atleast_1d(up)]


def name_values(axes: Axes, rows: pd.DataFrame, quantity: Quantity, strategies: list[str]) -> None:
    """Above each group of bars its value, or its lowest and highest."""
    for place, strategy in enumerate(strategies):
        values = rows.loc[rows["strategy"] == strategy, quantity.column].dropna()
        if len(values):
            ends = dict.fromkeys(
                f"{value:.{3 if value >= 1 else 2}g}" for value in (values.min(), values.max())
            )
            axes.annotate(
                "\nto ".join(ends), (place, values.max()), xytext=(0, 4), fontsize=11, ha="center",
                textcoords="offset points", va="bottom",
            )  # fmt: skip
    axes.set_ylim(top=1.25 * highest(rows, quantity))


def draw_lines(
    axes: Axes, rows: pd.DataFrame, quantity: Quantity, batches: np.ndarray, band: float
) -> None:
    """Lines against processes, and the band of cells that are not ok, of this share's height."""
    shades, markers = batch_shades(batches), batch_markers(batches)
    fewest = on_fewest_nodes(rows)
    for (strategy, batch), own in rows.groupby(["strategy", "batch_size"]):
        colour = shade(STRATEGY_COLOURS[strategy], shades[batch])
        packed = fewest.loc[own.index]
        draw_line(axes, own[packed], own[~packed], quantity, colour, markers[batch])
    scale_doublings(axes, rows["world"])
    axes.set_xlabel("processes")
    if quantity.named:
        values = rows[quantity.column].dropna()
        scale_values(axes, values.min(), values.max(), band, 0)
    else:
        top = 1.1 * highest(rows, quantity)
        axes.set_ylim(-top * band / (1 - band), top)
        axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= top])
    if rows["fails"].any():
        draw_band(axes, band_rows(rows, "batch_size", "world"), "world", band)


def draw_line(
    axes: Axes,
    packed: pd.DataFrame,
    spread: pd.DataFrame,
    quantity: Quantity,
    colour: tuple[float, ...],
    marker: str,
) -> None:
    """A line through cells on the fewest nodes, which breaks where one has no value; open marks of
    those that are spread over more."""
    packed = packed.sort_values("world")
    missing = packed[quantity.column].isna()
    if not missing.all():
        drawn = packed.assign(stretch=missing.cumsum())[~missing]
        sns.lineplot(
            drawn, x="world", y=quantity.column, units="stretch", estimator=None, color=colour,
            marker=marker, ax=axes, linewidth=1.8, markersize=8, legend=False,
        )  # fmt: skip
        axes.errorbar(
            drawn["world"], drawn[quantity.column], errors(drawn, quantity), color=colour,
            fmt="none", elinewidth=1.4,
        )  # fmt: skip
    axes.plot(
        spread["world"], spread[quantity.column], marker, markerfacecolor="white",
        markeredgecolor=colour, markersize=7, markeredgewidth=1.5, zorder=1.8,
    )  # fmt: skip


def on_fewest_nodes(rows: pd.DataFrame) -> pd.Series:
    """Whether no cell has as many processes on fewer nodes, for each row."""
    return rows["nodes"] == rows.groupby("world")["nodes"].transform("min")
