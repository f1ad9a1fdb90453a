"""Colours, marks and legends of the throughput benchmark's figures."""

import textwrap
from collections.abc import Iterable
from typing import get_args

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ddpm_bench.config.benchmark import Precision, Strategy
from ddpm_bench.report.figures.style import COLOURS
from ddpm_bench.throughput.report.drawn_cells import measured_on

STRATEGIES = get_args(Strategy)
# One process alone, the baseline of all others, is grey.
STRATEGY_COLOURS = {
    "single": (0.3, 0.3, 0.3), "ddp": COLOURS[0], "ddp-fp16": COLOURS[9], "ddp-bf16": COLOURS[4],
    "powersgd": COLOURS[2], "fsdp": COLOURS[1], "pipeline-gpipe": COLOURS[3],
    "pipeline-1f1b": COLOURS[5],
}  # fmt: skip
PRECISION_MARKERS = dict(zip(get_args(Precision), ("o", "s", "^"), strict=True))
PRECISION_DASHES = dict(zip(get_args(Precision), ("", (4, 2), (1.5, 1.5)), strict=True))
STATUS_MARKERS = {"unsupported": "x", "out of memory": "X", "crashed": "*", "timed out": "d"}
BATCH_MARKERS = ("o", "s", "^", "D", "v", "P")
LEGEND_LETTERS = 24  # of a line in a legend


def in_strategy_order(names: Iterable[str]) -> list[str]:
    """Return the distinct strategies, ordered as in the config's documentation."""
    return sorted(set(names), key=STRATEGIES.index)


def in_precision_order(names: Iterable[str]) -> list[str]:
    """Return the distinct precisions, ordered as in the config's documentation."""
    return sorted(set(names), key=list(PRECISION_MARKERS).index)


def shade(colour: tuple[float, ...], share: float) -> tuple[float, ...]:
    """Return a colour between white (share 0) and the given one (share 1)."""
    return tuple(1 - share * (1 - part) for part in colour)


def batch_shades(batches: Iterable[int]) -> dict[int, float]:
    """Return the share of colour of each batch size: the largest has the strongest colour."""
    ordered = sorted(set(batches))
    return dict(zip(ordered, np.linspace(0.45 if ordered[1:] else 1, 1, len(ordered)), strict=True))


def batch_markers(batches: Iterable[int]) -> dict[int, str]:
    """Return the marker of each batch size."""
    ordered = sorted(set(batches))
    return {batch: BATCH_MARKERS[place % len(BATCH_MARKERS)] for place, batch in enumerate(ordered)}


def status_size(status: str) -> dict[str, float]:
    """Return the size of a status's mark: a thin cross needs a broad stroke."""
    return {"markersize": 8, "markeredgewidth": 2 if status == "unsupported" else 0.8}


def strategy_handles(names: Iterable[str]) -> list[Line2D]:
    """Return the legend entries of strategies."""
    return [
        Line2D([], [], color=STRATEGY_COLOURS[name], linewidth=5, label=name)
        for name in in_strategy_order(names)
    ]


def precision_handles(names: Iterable[str]) -> list[Line2D]:
    """Return the legend entries of precisions; none for a single precision."""
    handles = []
    for name in in_precision_order(names):
        line = Line2D([], [], color="0.3", marker=PRECISION_MARKERS[name], label=name)
        if PRECISION_DASHES[name]:
            line.set_dashes(PRECISION_DASHES[name])
        handles.append(line)
    return handles if len(handles) > 1 else []


def status_handles(statuses: Iterable[str]) -> list[Line2D]:
    """Return the legend entries of the statuses that are not ok."""
    found = set(statuses)
    return [
        Line2D([], [], color="0.3", marker=marker, linestyle="none", label=status,
               **status_size(status))
        for status, marker in STATUS_MARKERS.items()
        if status in found
    ]  # fmt: skip


def write_legend(figure: Figure, blocks: dict[str, list[Line2D]], cells: pd.DataFrame) -> None:
    """Write headings with their entries right of all panels, and at the end the hardware."""
    handles = []
    for heading, entries in blocks.items():
        if entries:
            handles += [_line_of_text(heading), *entries, _line_of_text("")]
    hardware = [line for text in measured_on(cells) for line in textwrap.wrap(text, LEGEND_LETTERS)]
    handles += [_line_of_text("measured on"), *map(_line_of_text, hardware)]
    legend = figure.legend(
        handles=handles, loc="outside right upper", frameon=False, fontsize=13, handlelength=2.6
    )
    headings = {*blocks, "measured on"}
    for text in legend.get_texts():
        if text.get_text() in headings:
            text.set_weight("bold")


def _line_of_text(text: str) -> Line2D:
    """Return a legend entry without a mark."""
    return Line2D([], [], linestyle="none", label=text)
