"""Axes, titles and bands of failed cells in the panels of the throughput benchmark's figures."""

import textwrap
from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from ddpm_bench.report.figures.axes import is_wide, make_logarithmic
from ddpm_bench.report.figures.style import NOTE_COLOUR
from ddpm_bench.report.text import number
from ddpm_bench.throughput.report.figure_style import (
    STATUS_MARKERS,
    STRATEGY_COLOURS,
    in_strategy_order,
    status_size,
)

NOTHING = "None of these cells could be measured."
WIDE_RATIO = 8  # largest over smallest value from which an axis is logarithmic
TICKS = 8  # labelled on an axis of doublings, at most
LEVEL_DIGITS = 15  # digits of all tick labels together, above which they are rotated
TITLE_LETTERS, LINE_LETTERS = 32, 40  # of a line above a panel
# Height in inches of each row of a band, and rows of room for the label of the tick at its edge.
BAND_INCHES, BAND_MARGIN = 0.23, 0.7


def scale_doublings(axes: Axes, values: Iterable[int]) -> None:
    """Make the x axis logarithmic with ticks at these values, at most TICKS of them labelled."""
    ticks = sorted(set(values))
    every = -(-len(ticks) // TICKS)
    axes.set_xscale("log", base=2)
    axes.set_xlim(ticks[0] / 1.6, ticks[-1] * 1.6)
    axes.xaxis.set_major_locator(FixedLocator(ticks[::every]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if len("".join(map(str, ticks[::every]))) > LEVEL_DIGITS:
        axes.tick_params(axis="x", labelsize=12, labelrotation=45)


def scale_values(axes: Axes, lowest: float, highest: float, below: float, above: float) -> bool:
    """Scale the y axis for values from lowest to highest, logarithmic if they span much.

    below, above: shares of the axis that stay free for marks. Returns true if it is logarithmic.
    """
    logarithmic = is_wide(lowest, highest, WIDE_RATIO)
    if logarithmic:
        make_logarithmic(axes.yaxis)
        low, high = np.log10(lowest / 1.25), np.log10(highest * 1.25)
    else:
        low, high = 0.0, 1.08 * max(highest, 1e-9)
    unit = (high - low) / (1 - below - above)
    limits = np.array([low - below * unit, high + above * unit])
    axes.set_ylim(*(10**limits if logarithmic else limits))
    first, last = (10**low, 10**high) if logarithmic else (low, high)
    axes.yaxis.set_minor_locator(NullLocator())
    shown = FuncFormatter(lambda value, _: number(value) if first <= value <= last else "")
    axes.yaxis.set_major_formatter(shown)
    return logarithmic


def write_titles(axes: Axes, title: str, *lines: str, note: str = "") -> None:
    """Write a title, and under it lines in plain letters, the last of them a note that warns."""
    texts = [text for line in lines for text in textwrap.wrap(line, LINE_LETTERS)]
    texts += [note] if note else []
    axes.set_title(
        "\n".join(textwrap.wrap(title, TITLE_LETTERS)), loc="left", fontsize=15,
        pad=9 + 17 * len(texts),
    )  # fmt: skip
    for place, text in enumerate(reversed(texts)):
        axes.annotate(
            text, (0, 1), xytext=(0, 7 + 17 * place), xycoords="axes fraction", fontsize=12.5,
            textcoords="offset points", color=NOTE_COLOUR if text == note else "0.25",
        )  # fmt: skip


def write_in_place_of_curves(axes: Axes, text: str) -> None:
    """Write a sentence into a narrow panel that has no curves."""
    axes.set(xticks=[], yticks=[])
    axes.text(
        0.5, 0.5, "\n".join(textwrap.wrap(text, 26)), transform=axes.transAxes, ha="center",
        va="center", fontsize=13, color="0.3",
    )  # fmt: skip


def band_rows(cells: pd.DataFrame, split: str, x: str) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of a band of failed cells: the name of each row, and its cells.

    There is a row for each strategy, and more than one where values of the column `split` differ in
    which cells along the column `x` failed. cells: all of a panel, with the flag `fails`.
    """
    rows = []
    for strategy in in_strategy_order(cells["strategy"]):
        own = cells[cells["strategy"] == strategy]
        outcomes: dict[frozenset, list] = {}
        for value, part in own.groupby(split, sort=False):
            failed = part[part["fails"]]
            outcome = frozenset(zip(failed[x], failed["status"], strict=True))
            outcomes.setdefault(outcome, []).append(value)
        for outcome, values in outcomes.items():
            if outcome:
                name = ", ".join(map(str, values)) if len(outcomes) > 1 else ""
                alike = own[own["fails"] & (own[split] == values[0])]
                rows.append((f"{strategy} {name}".strip(), alike))
    return rows


def band_inches(panels: Iterable[pd.DataFrame], split: str, x: str) -> float:
    """Return the height of the bands of panels side by side; 0 where no cell failed."""
    most = max(len(band_rows(panel, split, x)) for panel in panels)
    return BAND_INCHES * (most + BAND_MARGIN) if most else 0.0


def draw_band(
    axes: Axes, rows: list[tuple[str, pd.DataFrame]], x: str, height: float, top: bool = False
) -> None:
    """Draw rows of marks of failed cells at a panel's foot or top; the first row is topmost.

    rows: as band_rows returns them; x: the column of the marks' x coordinates; height: of the band,
    a share of the panel's.
    """
    begin = 1 - height if top else 0.0
    axes.add_patch(
        Rectangle(
            (0, begin), 1, height, transform=axes.transAxes, facecolor="0.93", edgecolor="0.6",
            linewidth=1, zorder=1.5,
        )
    )  # fmt: skip
    for place, (name, cells) in enumerate(rows):
        above = place + 0.5 + (0 if top else BAND_MARGIN)
        middle = begin + height * (1 - above / (len(rows) + BAND_MARGIN))
        colour = STRATEGY_COLOURS[cells["strategy"].iloc[0]]
        axes.annotate(
            name, (0, middle), xycoords="axes fraction", xytext=(-6, 0), ha="right", va="center",
            textcoords="offset points", fontsize=11, color=colour,
        )  # fmt: skip
        for value, status in zip(cells[x], cells["status"], strict=True):
            axes.plot(
                [value], [middle], STATUS_MARKERS[status], color=colour, clip_on=False, zorder=5,
                transform=axes.get_xaxis_transform(), **status_size(status),
            )  # fmt: skip
