"""Published scores as dashed lines in panels of the same dataset and feature space."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ddpm_bench.config.published import PublishedOf
from ddpm_bench.records.scores import METRICS, Metric, feature_space_label
from ddpm_bench.report.text import number

COLOUR = "0.25"
LEAST_SHARE = 0.6  # of the height, which the curves keep if the axis is extended to a line
PLACES = (0.0, 0.34, 0.67)  # shares of the width at which labels of close lines start
CLOSE = 0.07  # share of the height between lines whose labels would overlap
LABEL: dict[str, Any] = {
    "textcoords": "offset points", "fontsize": 13, "color": COLOUR, "zorder": 4,
    "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
}  # fmt: skip


def published_in(
    published: Iterable[PublishedOf], rows: pd.DataFrame, metric: Metric
) -> list[PublishedOf]:
    """Return the published scores that are comparable with these rows and this metric.

    IS has no reference; FID also depends on the resize of its features (`fid_backend`) and on the
    statistics it is computed against (`fid_reference`).
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
    """Return notes that name published scores which are comparable with no panel."""
    return [
        f"Published, but not comparable with the scores here: "
        f"{METRICS[line.column].name} {number(line.value)} ({line.source}; {kind_of(line)})."
        for line in lines
    ]


def with_published(best: pd.DataFrame, published: Sequence[PublishedOf]) -> pd.DataFrame:
    """Return the table of best scores with the comparable published score beside each row.

    It is in the columns `published` and `published_source`, the best if there are several; without
    published scores the table is returned unchanged. best: a table with the columns
    score_tables.BEST_COLUMNS.
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
    """Return the features and the reference of a published score in words."""
    parts = [feature_space_label(line.feature_space)]
    if line.column == "fid" and line.fid_backend == "pytorch-fid":
        parts.append("pytorch-fid")
    if line.column != "is_mean":
        parts.append(f"against {line.fid_reference if line.column == 'fid' else line.reference}")
    return ", ".join(parts)


def draw_published(
    axes: Axes, lines: Sequence[PublishedOf], metric: Metric, best_at: float | None
) -> None:
    """Draw a dashed line for each published score, with its value and source.

    A score so far off that its line would flatten the curves is named at the edge instead, away
    from the curves. Call this after the axes have their scales. best_at: horizontal position of the
    best value's label, from which these labels keep away.
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
    """Return the label of a line: its value and source."""
    return f"{number(line.value)}, {line.source}"


def make_room(axes: Axes, value: float) -> bool | None:
    """Extend the axis to a value and return None; if it is too far away, change nothing.

    Then return True for a value above the axis and False for one below.
    """
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
    """Return the horizontal start of each label, so that labels of close lines do not overlap.

    lines: in ascending order. Starts are shares of the panel's width.
    """
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
