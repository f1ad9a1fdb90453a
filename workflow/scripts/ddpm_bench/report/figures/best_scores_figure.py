"""The best scores of all experiments as a table, with one block per group of comparable scores."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ddpm_bench.config.published import PublishedOf
from ddpm_bench.records.score_warnings import warnings_about
from ddpm_bench.records.scores import METRICS, Metric
from ddpm_bench.report.figures.published_lines import published_in
from ddpm_bench.report.figures.score_figures import FID_PANEL, with_curves
from ddpm_bench.report.figures.style import NOTE_COLOUR, PANEL_WIDTH, empty_figure, house_style
from ddpm_bench.report.tables.score_tables import metric_label
from ddpm_bench.report.text import MINUS, counts

# Inches.
ROW, HEADING, COLUMN_NAMES, NOTE, GAP, MARGIN = 0.5, 0.78, 0.42, 0.26, 0.35, 0.35
NAME_WIDTH, IMAGES_WIDTH = 3.1, 0.75
WITH_DEVIATION = 1.3  # width of a column with deviations over that of another
NAME_CHARACTERS, NOTE_CHARACTERS = 30, 130  # of a line
MOST_ROWS = 60  # of a block
BEST_COLOUR, STRIPE = "#d8ecdf", "0.965"


@dataclass
class Line:
    """A row of the picture: a row of the table, or a published value, by column of METRICS."""

    name: str
    images: str
    cells: dict[str, pd.Series | float] = field(default_factory=dict)
    published: bool = False


@dataclass(frozen=True)
class ScoreBlock:
    """A group of comparable scores: heading, lines in their order, and notes."""

    heading: str
    subtitle: str
    lines: list[Line]
    notes: list[str]

    def height(self) -> float:
        """Return the height in inches."""
        return HEADING + COLUMN_NAMES + ROW * len(self.lines) + NOTE * len(self.notes) + GAP


def best_figure(best: pd.DataFrame, published: Sequence[PublishedOf], title: str) -> Figure:
    """Draw the table of best scores; best: a table with the columns score_tables.BEST_COLUMNS.

    Each dataset, feature space, reference and kind of FID has a block of its own; the best value of
    each column of a block is marked. Comparable published values follow below.
    """
    if best.empty:
        return empty_figure(title, "There are no scores yet.")
    blocks = [block_of(rows, published) for _, rows in best.groupby(FID_PANEL, sort=True)]
    height = sum(block.height() for block in blocks) + 0.8
    with house_style():
        figure = Figure((PANEL_WIDTH, height))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, PANEL_WIDTH), ylim=(height, 0))
        axes.axis("off")
        axes.text(
            PANEL_WIDTH / 2, 0.42, title, fontsize=21, fontweight="bold", ha="center", va="center"
        )
        top = 0.75
        for block in blocks:
            draw_block(axes, block, top)
            top += block.height()
    return figure


def block_of(rows: pd.DataFrame, published: Sequence[PublishedOf]) -> ScoreBlock:
    """Return the block of comparable rows, the best line first by the metric that is read first."""
    first, curves = rows.iloc[0], with_curves(rows, FID_PANEL)
    lines = [
        Line(
            f"{experiment} · {samples}",
            counts(group["images_generated"]),
            {row["metric"]: row for _, row in group.iterrows()},
        )
        for (experiment, samples), group in curves.groupby(["experiment", "variant"])
    ]
    leading = METRICS[rows["metric"].iloc[0]]  # KID if FID is biased: ordered_metrics
    lines.sort(key=lambda line: rank(line, leading))
    notes = [f"Warning: {text}" for text in warnings_about(rows["warning"])]
    if rows["images_generated"].nunique() > 1:
        notes.append("Numbers of images differ: a lower FID may come from more of them alone.")
    if len(lines) > MOST_ROWS:
        notes.append(f"{len(lines) - MOST_ROWS} more in best_scores.csv.")
    notes += [
        f"{line.source}: {line.note}"
        for metric in METRICS.values()
        for line in published_in(published, rows, metric)
        if line.note
    ]
    accuracy = rows["classifier_accuracy"].dropna()
    about = f"; classifier accuracy {accuracy.iloc[0]:.1%}" if len(accuracy) else ""
    return ScoreBlock(
        f"{first['dataset']} · {metric_label(first, METRICS['fid']).removeprefix('FID (')[:-1]}",
        f"against {counts(rows['images_reference'])} reference images ({first['reference']}){about}"
        "; small: ± std · training step",
        [*lines[:MOST_ROWS], *published_lines(rows, published)],
        [part for note in dict.fromkeys(notes) for part in textwrap.wrap(note, NOTE_CHARACTERS)],
    )


def rank(line: Line, metric: Metric) -> float:
    """Return a key that sorts lines by a metric, the best first, lines without a value last."""
    value = value_of(line, metric)
    if value is None:
        return float("inf")
    return value if metric.lower_is_better else -value


def value_of(line: Line, metric: Metric) -> float | None:
    """Return a line's value of a metric; None if it has none."""
    cell = line.cells.get(metric.column)
    return None if cell is None else float(cell if isinstance(cell, float) else cell["value"])


def published_lines(rows: pd.DataFrame, published: Sequence[PublishedOf]) -> list[Line]:
    """Return a line for each source with comparable published scores."""
    lines: dict[str, Line] = {}
    for metric in METRICS.values():
        for one in published_in(published, rows, metric):
            line = lines.setdefault(one.source, Line(f"{one.source} (published)", "", {}, True))
            line.cells[metric.column] = one.value
    return list(lines.values())


def draw_block(axes: Axes, block: ScoreBlock, top: float) -> None:
    """Draw a block from `top` downwards; positions are in inches."""
    right = PANEL_WIDTH - MARGIN
    axes.text(MARGIN, top + 0.2, block.heading, fontsize=16, fontweight="bold", va="center")
    axes.text(MARGIN, top + 0.52, block.subtitle, fontsize=13, color="0.25", va="center")
    top += HEADING
    places = column_places()
    axes.text(MARGIN + 0.1, top + 0.2, "experiment · samples", fontsize=13, va="center")
    axes.text(places["images"][0], top + 0.2, "images", fontsize=13, va="center", ha="center")
    for metric in METRICS.values():
        arrow = "\N{DOWNWARDS ARROW}" if metric.lower_is_better else "\N{UPWARDS ARROW}"
        place = (places[metric.column][0], top + 0.2)
        axes.text(*place, f"{metric.name} {arrow}", fontsize=13, va="center", ha="center")
    top += COLUMN_NAMES
    axes.plot([MARGIN, right], [top, top], color="0.25", linewidth=1.4)
    marked = {metric.column: best_lines(block.lines, metric) for metric in METRICS.values()}
    for index, line in enumerate(block.lines):
        draw_line(axes, line, top, marked, index % 2 == 1)
        top += ROW
    axes.plot([MARGIN, right], [top, top], color="0.25", linewidth=1.4)
    for text in block.notes:
        axes.text(MARGIN, top + 0.2, text, fontsize=12, color=NOTE_COLOUR, va="center")
        top += NOTE


def column_places() -> dict[str, tuple[float, float]]:
    """Return centre and width in inches of the columns of images and metrics."""
    left = MARGIN + NAME_WIDTH
    places = {"images": (left + IMAGES_WIDTH / 2, IMAGES_WIDTH)}
    left += IMAGES_WIDTH
    shares = {column: WITH_DEVIATION if metric.std else 1.0 for column, metric in METRICS.items()}
    unit = (PANEL_WIDTH - MARGIN - left) / sum(shares.values())
    for column, share in shares.items():
        places[column] = (left + share * unit / 2, share * unit)
        left += share * unit
    return places


def best_lines(lines: Sequence[Line], metric: Metric) -> list[Line]:
    """Return the measured lines with the best value: all equal ones, but none if nothing is worse.

    Published values are not marked.
    """
    measured = [line for line in lines if not line.published and value_of(line, metric) is not None]
    best = min((rank(line, metric) for line in measured), default=0.0)
    found = [line for line in measured if rank(line, metric) == best]
    return [] if 1 < len(found) == len(measured) else found


def draw_line(
    axes: Axes, line: Line, top: float, marked: dict[str, list[Line]], striped: bool
) -> None:
    """Draw one row: values with their steps below, the best of their column on green."""
    places, middle = column_places(), top + ROW / 2
    style = {"va": "center", "style": "italic" if line.published else "normal"}
    if striped:
        box = (MARGIN, top), PANEL_WIDTH - 2 * MARGIN, ROW
        axes.add_patch(Rectangle(*box, color=STRIPE, linewidth=0, zorder=0))
    name = "\n".join(textwrap.wrap(line.name, NAME_CHARACTERS)[:2])
    axes.text(MARGIN + 0.1, middle, name, fontsize=12 if "\n" in name else 13, **style)
    axes.text(places["images"][0], middle, line.images, fontsize=12, ha="center", **style)
    for column, cell in line.cells.items():
        (x, width), best = places[column], any(one is line for one in marked[column])
        if best:
            box = (x - width / 2 + 0.03, top + 0.03), width - 0.06, ROW - 0.06
            axes.add_patch(Rectangle(*box, color=BEST_COLOUR, linewidth=0, zorder=1))
        value, below = cell_texts(cell, METRICS[column])
        weight = "bold" if best else "normal"
        place = middle - 0.09 if below else middle
        axes.text(x, place, value, fontsize=13, ha="center", fontweight=weight, **style)
        axes.text(x, middle + 0.12, below, fontsize=9, color="0.35", ha="center", va="center")


def cell_texts(cell: pd.Series | float, metric: Metric) -> tuple[str, str]:
    """Return a value, and the small text below it: standard deviation and training step."""
    if isinstance(cell, float):
        return f"{cell:.{metric.decimals}f}".rstrip("0").rstrip("."), ""
    value = f"{cell['value']:.{metric.decimals}f}".replace("-", MINUS)
    deviation = "" if pd.isna(cell["std"]) else f"± {cell['std']:.{metric.decimals}f} · "
    return value, f"{deviation}{cell['training_step']:,}"
