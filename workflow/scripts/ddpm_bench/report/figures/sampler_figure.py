"""The figure of samplers: FID and KID against seconds per image, with the Pareto front."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from ddpm_bench.config.sampling import Drawing
from ddpm_bench.records.scores import METRICS, Metric, feature_space_label
from ddpm_bench.report.figures.score_panels import how_to_read, notes, scale_values
from ddpm_bench.report.figures.style import (
    COLOURS,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    empty_figure,
    house_style,
    number,
    save_figure,
    write_notes,
)
from ddpm_bench.report.tables.sampler_comparison import (
    COMPARED,
    comparison_table,
    read_timings,
    steps_to_quality,
)
from ddpm_bench.report.tables.score_tables import (
    counts,
    metric_label,
    reference_is_small,
    write_table,
)

MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
# Where a label may stand beside its point, in points, the better places first; from a far one a
# line leads to the point. A label covers something before it goes much farther.
FAR, COST_OF_DISTANCE = 20, 5.0
PLACES = [
    (reach * x, reach * y)
    for reach in (11, 22, 36, 52)
    for x, y in ((1, 0.6), (1, -0.6), (-1, 0.6), (-1, -0.6), (0, 1.2), (0, -1.2), (1, 0), (-1, 0))
]


def write_comparison(
    evaluation: pd.DataFrame, timings: list[Path], sets: dict[str, Drawing], step: int, folder: Path
) -> list[Path]:
    """Write the tables and the figure of a comparison of samplers; return their paths.

    evaluation: all scores of the experiment; timings: files of the sets to compare; sets: all sets
    of the experiment by name; step: training step of the checkpoint.
    """
    timed = read_timings(timings)
    compared = comparison_table(evaluation, timed, sets, step)
    experiment = "" if evaluation.empty else f"{evaluation['experiment'].iloc[0]}: "
    title = f"{experiment}samplers at training step {step:,}"
    left_out = [name for name in sets if name not in set(timed["samples"])]
    paths = [folder / name for name in ("sampler_comparison.csv", "steps_to_quality.csv")]
    write_table(paths[0], compared)
    write_table(paths[1], steps_to_quality(compared))
    paths.append(folder / "Quality_vs_SecondsPerImage.png")
    save_figure(sampler_figure(compared, title, left_out), paths[-1])
    return paths


def sampler_figure(compared: pd.DataFrame, title: str, left_out: list[str]) -> Figure:
    """Draw a panel for each way to score, device and metric.

    compared: a `sampler_comparison.comparison_table`. left_out: sets that are not compared, which a
    note lists.
    """
    if compared.empty:
        return empty_figure(title, "No set of samples is scored at this checkpoint.")
    panels = [
        (metric, group)
        for _, group in compared.groupby(COMPARED, sort=True)
        for metric in metrics_of(group)
    ]
    looks = sampler_looks(compared)
    with house_style():
        figure = Figure((PANEL_WIDTH, len(panels) * (PANEL_HEIGHT + 0.9) + 0.8))
        figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15, hspace=0.04)
        figure.suptitle(title, fontsize=21, fontweight="bold")
        grid = figure.subplots(len(panels), squeeze=False)[:, 0]
        labels = [
            draw_samplers(axes, group, metric, looks)
            for axes, (metric, group) in zip(grid, panels, strict=True)
        ]
        for axes, (metric, group) in zip(grid, panels, strict=True):
            write_notes(axes, [*notes(group, metric), *comparison_notes(compared, left_out)])
        figure.draw_without_rendering()  # only now is known where the points are
        for axes, texts in zip(grid, labels, strict=True):
            if texts:
                keep_apart(axes, texts)
    return figure


def metrics_of(rows: pd.DataFrame) -> list[Metric]:
    """Return FID and KID; KID first if the reference is small."""
    fid, kid = METRICS["fid"], METRICS["kid_mean"]
    return [kid, fid] if reference_is_small(rows) else [fid, kid]


def sampler_looks(compared: pd.DataFrame) -> dict[str, tuple]:
    """Colour and marker of each sampler, the same in all panels."""
    return {
        sampler: (COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
        for index, sampler in enumerate(sorted(compared["sampler"].unique()))
    }


def draw_samplers(
    axes: Axes, rows: pd.DataFrame, metric: Metric, looks: dict[str, tuple]
) -> list[Annotation]:
    """Points with their standard deviations, the Pareto front and axes; the labels of points."""
    measured = rows.dropna(subset=[metric.column]).sort_values(["sampler", "steps"])
    handles = []
    for sampler, points in measured.groupby("sampler", sort=True):
        colour, marker = looks[sampler]
        seconds, values = points["seconds_per_image"], points[metric.column]
        axes.errorbar(
            seconds, values, points[metric.std].fillna(0), color=colour, marker=marker,
            markersize=10, linewidth=1.2, linestyle=":", elinewidth=1.6, capsize=4, zorder=4,
        )  # fmt: skip
        handles.append(
            Line2D([], [], color=colour, marker=marker, linestyle=":", markersize=9, label=sampler)
        )
    axes.set_xscale("log")
    if not measured.empty:
        scale_values(axes, measured, metric)
        scale_seconds(axes, measured["seconds_per_image"])
        front = measured[measured[f"on_pareto_front_{metric.column}"]]
        handles.append(draw_front(axes, front.sort_values("seconds_per_image"), metric))
    first = rows.iloc[0]
    axes.set_title(
        f"{first['dataset']} · {feature_space_label(first['feature_space'])} · score "
        f"{first['score']}",
        loc="left", pad=34,
    )  # fmt: skip
    axes.annotate(
        f"{counts(rows['images_generated'])} generated against "
        f"{counts(rows['images_reference'])} reference images ({first['reference']})",
        (0, 1), xytext=(0, 11), xycoords="axes fraction", textcoords="offset points",
        fontsize=13, color="0.25",
    )  # fmt: skip
    axes.set_xlabel(f"seconds per image on {first['device']}, log axis")
    axes.set_ylabel("\n".join([metric_label(first, metric), *how_to_read(axes, rows, metric)]))
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=13,
        title="in brackets: solver steps", title_fontsize=13, alignment="left",
    )  # fmt: skip
    return [point_label(axes, row, metric) for _, row in measured.iterrows()]


def point_label(axes: Axes, row: pd.Series, metric: Metric) -> Annotation:
    """A set's name and steps at its point; `keep_apart` finds its place."""
    point = (row["seconds_per_image"], row[metric.column])
    text = f"{row['samples']} ({row['steps']})"
    label = axes.annotate(
        text, point, xytext=(0, 0), textcoords="offset points", fontsize=12, zorder=3,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
    )  # fmt: skip
    label.set_in_layout(False)
    return label


def scale_seconds(axes: Axes, seconds: pd.Series) -> None:
    """Make the axis of seconds logarithmic, with plain numbers and room at both ends."""
    axes.set_xlim(seconds.min() / 1.6, seconds.max() * 1.6)
    span = seconds.max() / seconds.min()
    subs = (1,) if span > 1000 else (1, 2, 5) if span > 3 else range(1, 10)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def draw_front(axes: Axes, front: pd.DataFrame, metric: Metric) -> Line2D:
    """Draw the Pareto front as stairs, below and left of which no set lies; return its legend
    entry."""
    seconds, values = front["seconds_per_image"].to_numpy(), front[metric.column].to_numpy()
    if len(front):
        right, top = axes.get_xlim()[1], axes.get_ylim()[1]
        axes.step(
            [seconds[0], *seconds, right], [top, *values, values[-1]], where="post",
            color="0.25", linewidth=1.8, linestyle=(0, (5, 3)), zorder=2,
        )  # fmt: skip
    return Line2D([], [], color="0.25", linestyle=(0, (5, 3)), label="Pareto front")


def comparison_notes(compared: pd.DataFrame, left_out: list[str]) -> Iterator[str]:
    """Yield notes on the comparison as a whole."""
    if compared["samples"].nunique() == 1:
        yield (
            "There is one set only; sets of as many images that are added under `samples:` are "
            "compared with it here."
        )
    if compared["device"].nunique() > 1:
        yield "Seconds on different devices do not compare: each device has panels of its own."
    if left_out:
        yield (f"Not of this checkpoint, or of another number of images: {', '.join(left_out)}.")


def keep_apart(axes: Axes, labels: list[Annotation]) -> None:
    """Move each label to the place beside its point where it covers least of points, lines and
    other labels, and stays in the panel."""
    scale = axes.figure.dpi / 72  # pixels per point
    taken = drawn_boxes(axes, labels)
    for label in labels:
        x, y = axes.transData.transform(label.xy)
        own = label.get_window_extent()
        boxes = [
            Bbox.from_bounds(
                x + right * scale - own.width * (1 - np.sign(right)) / 2,
                y + up * scale - own.height / 2, own.width, own.height,
            )
            for right, up in PLACES
        ]  # fmt: skip
        panel = axes.get_window_extent()
        costs = [
            covered(box, taken) + 2 * outside(box, panel) + COST_OF_DISTANCE * np.hypot(*place)
            for box, place in zip(boxes, PLACES, strict=True)
        ]
        best = int(np.argmin(costs))
        put_label(axes, label, *PLACES[best])
        taken = np.vstack([taken, boxes[best].extents])


def put_label(axes: Axes, label: Annotation, right: float, up: float) -> None:
    """Place a label so many points beside its point, with a line to it where that is far."""
    label.set_position((right, up))
    label.set(va="center", ha={1: "left", 0: "center", -1: "right"}[int(np.sign(right))])
    if np.hypot(right, up) > FAR:
        line = {"arrowstyle": "-", "color": "0.55", "linewidth": 0.9, "shrinkA": 1, "shrinkB": 5}
        leader = axes.annotate(
            "", label.xy, xytext=(right, up), textcoords="offset points", arrowprops=line, zorder=3
        )
        leader.set_in_layout(False)


def drawn_boxes(axes: Axes, labels: list[Annotation]) -> np.ndarray:
    """What labels should not cover, as boxes [n, 4] (left, bottom, right, top) in pixels: points
    large, and small ones along every line and error bar."""
    half = 7 * axes.figure.dpi / 72
    points = axes.transData.transform([label.xy for label in labels])
    boxes = [np.hstack([points - half, points + half])]
    paths = [line.get_xydata() for line in axes.lines if line.get_linestyle() != "None"]
    paths += [path for bars in axes.collections for path in bars.get_segments()]
    for path in paths:
        corners = axes.transData.transform(path)
        for start, stop in itertools.pairwise(corners):
            count = max(2, int(np.hypot(*(stop - start)) / half))
            along = np.linspace(start, stop, count)
            boxes.append(np.hstack([along - half / 4, along + half / 4]))
    return np.vstack(boxes)


def covered(box: Bbox, others: np.ndarray) -> float:
    """The area that a box shares with others [n, 4], each counted for itself."""
    width = np.minimum(box.x1, others[:, 2]) - np.maximum(box.x0, others[:, 0])
    height = np.minimum(box.y1, others[:, 3]) - np.maximum(box.y0, others[:, 1])
    return float((width.clip(0) * height.clip(0)).sum())


def outside(box: Bbox, panel: Bbox) -> float:
    """The area of a box that is outside a panel."""
    return box.width * box.height - covered(box, panel.extents[None])
