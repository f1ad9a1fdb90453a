"""How the figures of the throughput benchmark look: colours, marks, axes and legends."""

import textwrap
from collections.abc import Iterable, Iterator
from typing import get_args

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from ddpm_bench.config.benchmark import Precision, Strategy
from ddpm_bench.report.figures.axes import is_wide, make_logarithmic
from ddpm_bench.report.figures.style import COLOURS, NOTE_COLOUR
from ddpm_bench.report.text import number
from ddpm_bench.throughput.report.tables import CELL, HARDWARE, summary, world

STRATEGIES = get_args(Strategy)
# One process alone, which all others are held against, is grey.
STRATEGY_COLOURS = {
    "single": (0.3, 0.3, 0.3), "ddp": COLOURS[0], "ddp-fp16": COLOURS[9], "ddp-bf16": COLOURS[4],
    "powersgd": COLOURS[2], "fsdp": COLOURS[1], "pipeline-gpipe": COLOURS[3],
    "pipeline-1f1b": COLOURS[5],
}  # fmt: skip
PRECISION_MARKERS = dict(zip(get_args(Precision), ("o", "s", "^"), strict=True))
PRECISION_DASHES = dict(zip(get_args(Precision), ("", (4, 2), (1.5, 1.5)), strict=True))
STATUS_MARKERS = {"unsupported": "x", "out of memory": "X", "crashed": "*", "timed out": "d"}
BATCH_MARKERS = ("o", "s", "^", "D", "v", "P")
WIDE_RATIO = 8  # largest over smallest value from which an axis is logarithmic
TICKS = 8  # labelled on an axis of doublings, at most
LEVEL_DIGITS = 15  # of all labels, before they are turned
TITLE_LETTERS, LINE_LETTERS = 32, 40  # of a line above a panel
LEGEND_LETTERS = 24
# A band of marks: inches of each row, and rows of room for the label of the tick at its edge.
BAND_INCHES, BAND_MARGIN = 0.23, 0.7


def drawn_cells(table: pd.DataFrame) -> pd.DataFrame:
    """A row per cell of throughput_table.throughput_table: its summary with more columns.

    world: processes of all nodes. panel: the model, and the hardware where there are several.
    slow, fast: samples per second between which the middle half of the steps of each repetition
    lies.
    """
    speed, median = table["samples_per_second"], table["step_ms_median"]
    quarters = table.assign(
        slow=speed * median / table["step_ms_q3"], fast=speed * median / table["step_ms_q1"]
    ).groupby([*CELL, *HARDWARE], sort=False)
    spread = quarters.agg(slow=("slow", "min"), fast=("fast", "max")).reset_index()
    cells = summary(table).merge(spread, on=[*CELL, *HARDWARE], validate="one_to_one")
    return cells.assign(world=world(cells), panel=_panels(cells))


def _panels(cells: pd.DataFrame) -> pd.Series:
    """The panel of each cell. One that is not ok joins the cells of its model where what it ran on
    has no panel: it may have ended before it knew its device."""
    hardware = cells.apply(hardware_text, axis=1, result_type="reduce")
    ok = cells["status"] == "ok"
    if hardware[ok].nunique() < 2:
        return cells["model"]
    measured = set(zip(cells["model"][ok], hardware[ok], strict=True))
    usual = hardware[ok].groupby(cells["model"][ok]).agg(lambda found: found.mode().iloc[0])
    names = [
        f"{model} · {own if (model, own) in measured else usual.get(model, own)}"
        for model, own in zip(cells["model"], hardware, strict=True)
    ]
    return pd.Series(names, index=cells.index)


def hardware_text(row: pd.Series) -> str:
    """As "NVIDIA H200, 4 cores"."""
    return f"{row['device']}, {row['cpus']} core{'s' if row['cpus'] != 1 else ''}"


def processes_text(processes: int, nodes: int) -> str:
    """As "1 process", or "16 processes on 2 nodes"."""
    total = processes * nodes
    where = f" on {nodes} nodes" if nodes > 1 else ""
    return f"{total} process{'es' if total > 1 else ''}{where}"


def sample_text(rows: pd.DataFrame) -> str:
    """What is counted, in the plural: images, or samples where there are several kinds."""
    kinds = {kind for kind in rows["sample"] if kind}
    return f"{kinds.pop()}s" if len(kinds) == 1 else "samples"


def nothing_measured(cells: pd.DataFrame) -> str:
    """Why there is nothing to draw."""
    if cells.empty:
        return "The benchmark has no cells."
    counts = cells["status"].value_counts()
    listed = ", ".join(f"{count} {status}" for status, count in counts.items())
    reasons = cells["reason"][cells["reason"] != ""].value_counts()
    why = f" Most often: {reasons.index[0]}." if len(reasons) else ""
    return f"No cell could be measured: {listed}.{why}"


def in_strategy_order(names: Iterable[str]) -> list[str]:
    return sorted(set(names), key=STRATEGIES.index)


def in_precision_order(names: Iterable[str]) -> list[str]:
    return sorted(set(names), key=list(PRECISION_MARKERS).index)


def shade(colour: tuple[float, ...], share: float) -> tuple[float, ...]:
    """A colour between white (0) and itself (1)."""
    return tuple(1 - share * (1 - part) for part in colour)


def batch_shades(batches: Iterable[int]) -> dict[int, float]:
    """How strong the colours of batch sizes are: the largest strongest."""
    ordered = sorted(set(batches))
    return dict(zip(ordered, np.linspace(0.45 if ordered[1:] else 1, 1, len(ordered)), strict=True))


def batch_markers(batches: Iterable[int]) -> dict[int, str]:
    ordered = sorted(set(batches))
    return {batch: BATCH_MARKERS[place % len(BATCH_MARKERS)] for place, batch in enumerate(ordered)}


def scale_doublings(axes: Axes, values: Iterable[int]) -> None:
    """A logarithmic x axis with ticks at these values; not all are labelled where they are many."""
    ticks = sorted(set(values))
    every = -(-len(ticks) // TICKS)
    axes.set_xscale("log", base=2)
    axes.set_xlim(ticks[0] / 1.6, ticks[-1] * 1.6)
    axes.xaxis.set_major_locator(FixedLocator(ticks[::every]))
    axes.xaxis.set_minor_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if len("".join(map(str, ticks[::every]))) > LEVEL_DIGITS:
        axes.tick_params(axis="x", labelsize=12, labelrotation=45)


def name_panel(axes: Axes, title: str, *lines: str, note: str = "") -> None:
    """A title, and under it lines in plain letters, the last of them a note that warns."""
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


def scale_values(axes: Axes, lowest: float, highest: float, below: float, above: float) -> bool:
    """A y axis for values from lowest to highest, logarithmic where they span much.

    below, above: shares of the axis that stay free for marks. Returns whether it is logarithmic.
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


def say_in_panel(axes: Axes, text: str) -> None:
    """A sentence in place of curves, in a narrow panel."""
    axes.set(xticks=[], yticks=[])
    axes.text(
        0.5, 0.5, "\n".join(textwrap.wrap(text, 26)), transform=axes.transAxes, ha="center",
        va="center", fontsize=13, color="0.3",
    )  # fmt: skip


def draw_band(
    axes: Axes, rows: list[tuple[str, pd.DataFrame]], x: str, height: float, top: bool = False
) -> None:
    """Rows of marks of cells that are not ok, at a panel's foot or top; the first row is topmost.

    rows: the name of each row, and its cells; x: the column of their places. height: of the band,
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


def status_size(status: str) -> dict[str, float]:
    """Of a mark: a thin cross needs a broad stroke."""
    return {"markersize": 8, "markeredgewidth": 2 if status == "unsupported" else 0.8}


def band_rows(cells: pd.DataFrame, split: str, x: str) -> list[tuple[str, pd.DataFrame]]:
    """Cells that are not ok by strategy, and by values of the column `split` that fared differently
    along the column `x`.

    cells: all of a panel, with `fails`: whether a cell is to be marked.
    """
    rows = []
    for strategy in in_strategy_order(cells["strategy"]):
        own = cells[cells["strategy"] == strategy]
        fates: dict[frozenset, list] = {}
        for value, part in own.groupby(split, sort=False):
            failed = part[part["fails"]]
            fate = frozenset(zip(failed[x], failed["status"], strict=True))
            fates.setdefault(fate, []).append(value)
        for fate, values in fates.items():
            if fate:
                name = ", ".join(map(str, values)) if len(fates) > 1 else ""
                alike = own[own["fails"] & (own[split] == values[0])]
                rows.append((f"{strategy} {name}".strip(), alike))
    return rows


def band_inches(panels: Iterable[pd.DataFrame], split: str, x: str) -> float:
    """The height of the bands of panels side by side; 0 where no cell is to be marked."""
    most = max(len(band_rows(panel, split, x)) for panel in panels)
    return BAND_INCHES * (most + BAND_MARGIN) if most else 0.0


def write_legend(figure: Figure, blocks: dict[str, list[Line2D]], cells: pd.DataFrame) -> None:
    """Headings with their entries right of all panels, and at the end what was measured on."""
    handles = []
    for heading, entries in blocks.items():
        if entries:
            handles += [_line_of_text(heading), *entries, _line_of_text("")]
    handles += [_line_of_text("measured on"), *map(_line_of_text, measured_on(cells))]
    legend = figure.legend(
        handles=handles, loc="outside right upper", frameon=False, fontsize=13, handlelength=2.6
    )
    headings = {*blocks, "measured on"}
    for text in legend.get_texts():
        if text.get_text() in headings:
            text.set_weight("bold")


def _line_of_text(text: str) -> Line2D:
    return Line2D([], [], linestyle="none", label=text)


def measured_on(cells: pd.DataFrame) -> Iterator[str]:
    """The hardware of the cells that are ok, or of all where none is, in lines for a legend."""
    ok = cells[cells["status"] == "ok"]
    rows = cells if ok.empty else ok
    for text in rows.apply(hardware_text, axis=1).unique():
        yield from textwrap.wrap(f"{text} per process", LEGEND_LETTERS)


def strategy_handles(names: Iterable[str]) -> list[Line2D]:
    return [
        Line2D([], [], color=STRATEGY_COLOURS[name], linewidth=5, label=name)
        for name in in_strategy_order(names)
    ]


def precision_handles(names: Iterable[str]) -> list[Line2D]:
    """Entries of precisions, as all strategies draw them; none for a single precision."""
    handles = []
    for name in in_precision_order(names):
        line = Line2D([], [], color="0.3", marker=PRECISION_MARKERS[name], label=name)
        if PRECISION_DASHES[name]:
            line.set_dashes(PRECISION_DASHES[name])
        handles.append(line)
    return handles if len(handles) > 1 else []


def status_handles(statuses: Iterable[str]) -> list[Line2D]:
    found = set(statuses)
    return [
        Line2D([], [], color="0.3", marker=marker, linestyle="none", label=status,
               **status_size(status))
        for status, marker in STATUS_MARKERS.items()
        if status in found
    ]  # fmt: skip
