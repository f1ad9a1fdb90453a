"""What the literature reports, as dashed lines in panels of the same dataset and features."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ddpm_bench.config.published import PublishedOf
from ddpm_bench.records.scores import METRICS, Metric, feature_space_label
from ddpm_bench.report.figures.style import number

COLOUR = "0.25"
LEAST_SHARE = 0.6  # of the height that is left to the curves when the axis is made to hold a line
PLACES = (0.0, 0.34, 0.67)  # across the panel, of labels of lines that lie close
CLOSE = 0.07  # of the height
LABEL: dict[str, Any] = {
    "textcoords": "offset points", "fontsize": 13, "color": COLOUR, "zorder": 4,
    "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
}  # fmt: skip


def published_in(
    published: Iterable[PublishedOf], rows: pd.DataFrame, metric: Metric
) -> list[PublishedOf]:
    """Those that may stand on the axis of rows that may be compared.

    IS knows no reference; FID's value depends also on whose resize its features have, and on what
    statistics it is held against.
    """
    first = rows.iloc[0]
    found = []
    for line in published:
        same = line.column == metric.column and line.dataset == first["dataset"]
        same = same and line.feature_space == first["feature_space"]
        if metric.column == "fid":
            same = same and line.fid_backend == first["fid_backend"]
            same = same and line.fid_reference == first["fid_reference"]
        elif metric.column != "is_mean":
            same = same and line.reference == first["reference"]
        if same:
            found.append(line)
    return found


def published_elsewhere(lines: Sequence[PublishedOf]) -> list[str]:
    """In words: lines that no panel may hold."""
    return [
        f"Published, and not comparable with what is scored here: "
        f"{METRICS[line.column].name} {number(line.value)} ({line.source}; {kind_of(line)})."
        for line in lines
    ]


def with_published(best: pd.DataFrame, published: Sequence[PublishedOf]) -> pd.DataFrame:
    """The table of best scores with what is published of the same kind beside each: the columns
    `published` and `published_source`, the best where there are several. As it is where nothing is.

    best: a table of tables.BEST_COLUMNS.
    """
    if not published:
        return best
    beside = []
    for index, row in best.iterrows():
        metric = METRICS[row["metric"]]
        lines = published_in(published, best.loc[[index]], metric)
        lines.sort(key=lambda line: line.value, reverse=not metric.lower_is_better)
        beside.append((lines[0].value, lines[0].source) if lines else (None, ""))
    columns = ["published", "published_source"]
    return best.join(pd.DataFrame(beside, columns=columns, index=best.index))


def kind_of(line: PublishedOf) -> str:
    """The features and the reference of a published score, in words."""
    parts = [feature_space_label(line.feature_space)]
    if line.column == "fid" and line.fid_backend == "pytorch-fid":
        parts.append("pytorch-fid")
    if line.column != "is_mean":
        parts.append(f"against {line.fid_reference if line.column == 'fid' else line.reference}")
    return ", ".join(parts)


def draw_published(
    axes: Axes, lines: Sequence[PublishedOf], metric: Metric, best_at: float | None
) -> None:
    """A dashed line for each; one far off the curves, which would press them flat, is named at the
    edge instead, where the curves are not. Call it when the axes have their scales.

    best_at: where across the panel the best value is marked, from which labels keep away.
    """
    beyond: dict[bool, list[PublishedOf]] = {True: [], False: []}
    drawn = []
    for line in sorted(lines, key=lambda line: line.value):
        above = make_room(axes, line.value)
        if above is None:
            drawn.append(line)
        else:
            beyond[above].append(line)
    right = best_at is not None and best_at < sum(axes.get_xlim()) / 2
    below = metric.lower_is_better  # the curves are on the other side of most lines
    for line, place in zip(drawn, label_places(axes, drawn), strict=True):
        axes.axhline(line.value, color=COLOUR, linewidth=1.8, linestyle=(0, (5, 3)), zorder=1)
        axes.annotate(
            named(line), (1 - place if right else place, line.value),
            xytext=(-6 if right else 6, -4 if below else 4), ha="right" if right else "left",
            va="top" if below else "bottom", xycoords=axes.get_yaxis_transform(), **LABEL,
        )  # fmt: skip
    for above, group in beyond.items():
        if group:
            right = above == metric.lower_is_better
            arrow = "\N{UPWARDS ARROW}" if above else "\N{DOWNWARDS ARROW}"
            text = "; ".join(map(named, group))
            axes.annotate(
                f"{arrow} published, beyond this axis: {text}", (float(right), float(above)),
                xytext=(-6 if right else 6, -6 if above else 6), xycoords="axes fraction",
                ha="right" if right else "left", va="top" if above else "bottom", **LABEL,
            )  # fmt: skip


def named(line: PublishedOf) -> str:
    return f"{number(line.value)}, {line.source}"


def make_room(axes: Axes, value: float) -> bool | None:
    """Let the axis hold a value (None); or say that it lies too far above it, True, or below."""
    transform = axes.yaxis.get_transform()
    low, high = transform.transform(np.array(axes.get_ylim()))
    if axes.get_yscale() == "log" and value <= 0:
        return False
    place = float(transform.transform(np.array([value]))[0])
    if low <= place <= high:
        return None
    wider = max(high, place) - min(low, place)
    if (high - low) / wider < LEAST_SHARE:
        return place > high
    room = 0.08 * wider
    low, high = (low, place + room) if place > high else (place - room, high)
    axes.set_ylim(*transform.inverted().transform(np.array([low, high])))
    return None


def label_places(axes: Axes, lines: Sequence[PublishedOf]) -> list[float]:
    """Where each label begins across the panel, so that those of close lines, in ascending order,
    do not cover each other."""
    transform = axes.yaxis.get_transform()
    low, high = transform.transform(np.array(axes.get_ylim()))
    heights = [
        (float(transform.transform(np.array([line.value]))[0]) - low) / (high - low)
        for line in lines
    ]
    places: list[int] = []
    for index, height in enumerate(heights):
        close = index > 0 and height - heights[index - 1] < CLOSE
        places.append((places[-1] + 1) % len(PLACES) if close else 0)
    return [PLACES[place] for place in places]
