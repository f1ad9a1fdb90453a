"""Panels of the figures of many processes: one quantity as bars, or as lines against processes."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from ddpm_bench.throughput.report.drawn_cells import processes_text
from ddpm_bench.throughput.report.figure_style import (
    STATUS_MARKERS,
    STRATEGY_COLOURS,
    batch_markers,
    batch_shades,
    in_strategy_order,
    shade,
    status_size,
)
from ddpm_bench.throughput.report.panels import (
    NOTHING,
    band_rows,
    draw_band,
    scale_doublings,
    scale_values,
    write_in_place_of_curves,
    write_titles,
)

GROUP_WIDTH = 0.82  # of the bars of a strategy; strategies are 1 apart
EFFICIENCIES = ("weak_efficiency", "strong_efficiency")


@dataclass(frozen=True)
class Quantity:
    """Quantity that one column of panels shows."""

    column: str
    title: str
    nothing: str  # written where cells are ok, but none has a value
    perfect: float | None = None
    percent: bool = False
    named: bool = False  # values are written above bars


@dataclass(frozen=True)
class ScalingPanel:
    """Panel of one quantity of one model and precision.

    cells: with the flag `fails`; batches: all batch sizes of the figure, which share one legend.
    """

    axes: Axes
    cells: pd.DataFrame
    quantity: Quantity
    batches: np.ndarray

    def draw(self, band: float | None) -> None:
        """Draw the panel.

        band: where lines are drawn against processes, the share of the panel's height for marks of
        failed cells; None for bars.
        """
        axes, quantity, first = self.axes, self.quantity, self.cells.iloc[0]
        where = processes_text(first["processes"], first["nodes"])
        title = f"{first['panel']}, {first['precision']}{f', {where}' if band is None else ''}"
        has_value, is_ok = self.cells[quantity.column].notna(), self.cells["status"] == "ok"
        note = ""
        if not has_value.any():
            write_in_place_of_curves(axes, quantity.nothing if is_ok.any() else NOTHING)
        else:
            if band is None:
                self.draw_bars()
            else:
                self.draw_lines(band)
            if quantity.perfect is not None:
                perfect = {"color": "0.25", "linewidth": 1.6, "linestyle": (0, (5, 3)), "zorder": 1}
                axes.axhline(quantity.perfect, **perfect)
            alone = int((~has_value & is_ok).sum())
            if alone:
                note = f"{alone} cell{'s have' if alone > 1 else ' has'} no single to compare with"
        log = ", log axis" if axes.get_yscale() == "log" else ""
        if quantity.percent:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
        axes.set_ylabel("")
        write_titles(axes, title, f"{quantity.title}{log}", note=note)

    def draw_bars(self) -> None:
        """Draw a group of bars for each strategy, one for each batch; a mark for a failed cell."""
        axes, quantity, shades = self.axes, self.quantity, batch_shades(self.batches)
        strategies = in_strategy_order(self.cells["strategy"])
        present = [batch for batch in shades if batch in set(self.cells["batch_size"])]
        width = GROUP_WIDTH / len(present)
        for _, cell in self.cells.iterrows():
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
                    place, value, 0.94 * width, yerr=self.errors(cell), ecolor="0.2",
                    color=shade(colour, shades[cell["batch_size"]]), linewidth=0,
                    error_kw={"lw": 1.4},
                )  # fmt: skip
        axes.set_ylim(0, 1.12 * self.highest())
        axes.set_xlim(-0.6, len(strategies) - 0.4)
        rotated = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        many = rotated if len(strategies) > 4 else {}
        axes.set_xticks(range(len(strategies)), strategies, fontsize=13, **many)
        axes.grid(visible=False, axis="x")
        if quantity.named:
            self.write_values(strategies)

    def highest(self) -> float:
        """Return the highest value drawn.

        Of efficiencies, the highest of both, which so share one axis, and at least the perfect one.
        """
        if self.quantity.perfect is None:
            return max(self.cells[self.quantity.column].max(), 1e-9)
        best = self.cells[[*EFFICIENCIES]].max(axis=1)
        reach = best * self.cells["samples_per_second_highest"] / self.cells["samples_per_second"]
        return max(reach.max(), self.quantity.perfect)

    def errors(self, cells: pd.DataFrame | pd.Series) -> list | None:
        """Return the reach of efficiencies down and up over repetitions; None for others."""
        if self.quantity.perfect is None:
            return None
        unit = cells[self.quantity.column] / cells["samples_per_second"]
        down = unit * (cells["samples_per_second"] - cells["samples_per_second_lowest"])
        up = unit * (cells["samples_per_second_highest"] - cells["samples_per_second"])
        return [np.atleast_1d(down), np.atleast_1d(up)]

    def write_values(self, strategies: list[str]) -> None:
        """Write above each strategy's bars their value, or their lowest and highest."""
        for place, strategy in enumerate(strategies):
            own = self.cells["strategy"] == strategy
            values = self.cells.loc[own, self.quantity.column].dropna()
            if len(values):
                ends = dict.fromkeys(
                    f"{value:.{3 if value >= 1 else 2}g}" for value in (values.min(), values.max())
                )
                self.axes.annotate(
                    "\nto ".join(ends), (place, values.max()), xytext=(0, 4), fontsize=11,
                    ha="center", textcoords="offset points", va="bottom",
                )  # fmt: skip
        self.axes.set_ylim(top=1.25 * self.highest())

    def draw_lines(self, band: float) -> None:
        """Draw lines against processes, and the band of failed cells, of this share's height."""
        axes, cells, quantity = self.axes, self.cells, self.quantity
        shades, markers = batch_shades(self.batches), batch_markers(self.batches)
        fewest = on_fewest_nodes(cells)
        for (strategy, batch), own in cells.groupby(["strategy", "batch_size"]):
            colour = shade(STRATEGY_COLOURS[strategy], shades[batch])
            packed = fewest.loc[own.index]
            self.draw_line(own[packed], colour=colour, marker=markers[batch])
            spread = own[~packed]
            axes.plot(
                spread["world"], spread[quantity.column], markers[batch], markersize=7,
                markerfacecolor="white", markeredgecolor=colour, markeredgewidth=1.5, zorder=1.8,
            )  # fmt: skip
        scale_doublings(axes, cells["world"])
        axes.set_xlabel("processes")
        if quantity.named:
            values = cells[quantity.column].dropna()
            scale_values(axes, values.min(), values.max(), below=band, above=0)
        else:
            top = 1.1 * self.highest()
            axes.set_ylim(-top * band / (1 - band), top)
            axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= top])
        if cells["fails"].any():
            draw_band(axes, band_rows(cells, "batch_size", "world"), "world", band)

    def draw_line(self, cells: pd.DataFrame, colour: tuple[float, ...], marker: str) -> None:
        """Draw a line through cells, interrupted where one has no value."""
        cells = cells.sort_values("world")
        missing = cells[self.quantity.column].isna()
        if missing.all():
            return
        drawn = cells.assign(stretch=missing.cumsum())[~missing]
        sns.lineplot(
            drawn, x="world", y=self.quantity.column, units="stretch", estimator=None, color=colour,
            marker=marker, ax=self.axes, linewidth=1.8, markersize=8, legend=False,
        )  # fmt: skip
        self.axes.errorbar(
            drawn["world"], drawn[self.quantity.column], self.errors(drawn), color=colour,
            fmt="none", elinewidth=1.4,
        )  # fmt: skip


def on_fewest_nodes(rows: pd.DataFrame) -> pd.Series:
    """Return for each row true if no other has as many processes on fewer nodes."""
    return rows["nodes"] == rows.groupby("world")["nodes"].transform("min")
