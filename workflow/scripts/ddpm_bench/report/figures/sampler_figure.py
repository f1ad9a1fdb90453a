"""The figure of samplers: FID and KID against seconds per image, with the Pareto front."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from ddpm_bench.config.sampling import Drawing
from ddpm_bench.records.scores import METRICS, Metric, feature_space_label
from ddpm_bench.report.figures.axes import make_logarithmic
from ddpm_bench.report.figures.score_panels import NO_BREAK, how_to_read, notes, scale_values
from ddpm_bench.report.figures.style import (
    COLOURS,
    MARKERS,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    CurveStyle,
    empty_figure,
    house_style,
    new_figure,
    save_figure,
    write_legend,
    write_notes,
    write_title,
)
from ddpm_bench.report.tables.sampler_comparison import (
    COMPARED,
    comparison_table,
    read_timings,
    steps_to_quality,
)
from ddpm_bench.report.tables.score_tables import metric_label, reference_is_small, write_table
from ddpm_bench.report.text import counts

LEGEND_LETTERS = 30
LEGEND_LINE = 0.27  # inches
ASIDE = 8  # points between a point and its number of steps


def write_sampler_comparison(
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
    styles = sampler_styles(compared)
    heights = [
        max(PANEL_HEIGHT + 0.9, 1.9 + LEGEND_LINE * len(legend_lines(group))) for _, group in panels
    ]
    with house_style():
        figure = new_figure(title, PANEL_WIDTH, sum(heights) + 0.8, hspace=0.04)
        grid = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
        for axes, (metric, group) in zip(grid, panels, strict=True):
            draw_samplers(axes, group, metric, styles)
            write_notes(axes, [*notes(group, metric), *comparison_notes(compared, left_out)])
    return figure


def metrics_of(rows: pd.DataFrame) -> list[Metric]:
    """Return FID and KID; KID first if the reference is small."""
    fid, kid = METRICS["fid"], METRICS["kid_mean"]
    return [kid, fid] if reference_is_small(rows) else [fid, kid]


def sampler_styles(compared: pd.DataFrame) -> dict[str, CurveStyle]:
    """Return the style of each sampler, the same in all panels."""
    return {
        sampler: CurveStyle(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], ":")
        for index, sampler in enumerate(sorted(compared["sampler"].unique()))
    }


def draw_samplers(
    axes: Axes, rows: pd.DataFrame, metric: Metric, styles: dict[str, CurveStyle]
) -> None:
    """Draw points with standard deviations and numbers of steps, the Pareto front and axes."""
    measured = rows.dropna(subset=[metric.column]).sort_values(["sampler", "steps"])
    handles = []
    for sampler, points in measured.groupby("sampler", sort=True):
        colour, marker, dashes = styles[sampler]
        seconds, values = points["seconds_per_image"], points[metric.column]
        axes.errorbar(
            seconds, values, points[metric.std].fillna(0), color=colour, marker=marker,
            markersize=10, linewidth=1.2, linestyle=dashes, elinewidth=1.6, capsize=4, zorder=4,
        )  # fmt: skip
        for _, point in points.iterrows():
            write_steps(axes, point, metric, colour)
        label = "\n".join(lines_of_sampler(points))
        line = {"color": colour, "marker": marker, "linestyle": dashes, "markersize": 9}
        handles.append(Line2D([], [], label=label, **line))
    axes.set_xscale("log")
    if not measured.empty:
        scale_values(axes, measured, metric)
        scale_seconds(axes, measured["seconds_per_image"])
        front = measured[measured[f"on_pareto_front_{metric.column}"]]
        handles.append(draw_front(axes, front.sort_values("seconds_per_image"), metric))
    first = rows.iloc[0]
    space = feature_space_label(first["feature_space"])
    write_title(
        axes, f"{first['dataset']} · {space} · score {first['score']}",
        f"{counts(rows['images_generated'])} generated against "
        f"{counts(rows['images_reference'])} reference images ({first['reference']})",
    )  # fmt: skip
    axes.set_xlabel(f"seconds per image on {first['device']}, log axis")
    axes.set_ylabel("\n".join([metric_label(first, metric), *how_to_read(axes, rows, metric)]))
    write_legend(
        axes, handles, title="numbers: solver steps", title_fontsize=13, alignment="left",
        labelspacing=0.7,
    )  # fmt: skip


def write_steps(axes: Axes, point: pd.Series, metric: Metric, colour: Any) -> None:
    """Write the number of steps beside a point of the table.

    It stands below and left of a point on the Pareto front, where no other point can be, else above
    and right.
    """
    on_front = point[f"on_pareto_front_{metric.column}"]
    aside = -ASIDE if on_front else ASIDE
    axes.annotate(
        f"{point['steps']}", (point["seconds_per_image"], point[metric.column]),
        xytext=(aside, aside), textcoords="offset points", fontsize=12, color=colour, zorder=5,
        ha="right" if on_front else "left", va="top" if on_front else "bottom",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
    )  # fmt: skip


def lines_of_sampler(points: pd.DataFrame) -> list[str]:
    """Return the lines of a sampler's legend entry: its name, and its sets by number of steps."""
    name = textwrap.wrap(points["sampler"].iloc[0], LEGEND_LETTERS)
    sets = (f"{row['samples']}{NO_BREAK}({row['steps']})" for _, row in points.iterrows())
    lines = textwrap.wrap(", ".join(sets), LEGEND_LETTERS)
    return [*name, *(line.replace(NO_BREAK, " ") for line in lines)]


def legend_lines(rows: pd.DataFrame) -> list[str]:
    """Return all lines of a panel's legend, with a line for its title and for the Pareto front."""
    by_sampler = rows.sort_values("steps").groupby("sampler", sort=True)
    entries = [line for _, points in by_sampler for line in lines_of_sampler(points)]
    return ["", *entries, ""]


def scale_seconds(axes: Axes, seconds: pd.Series) -> None:
    """Make the axis of seconds logarithmic, with plain numbers and room at both ends."""
    axes.set_xlim(seconds.min() / 1.6, seconds.max() * 1.6)
    span = seconds.max() / seconds.min()
    subs = (1,) if span > 1000 else (1, 2, 5) if span > 3 else range(1, 10)
    make_logarithmic(axes.xaxis, LogLocator(subs=subs))


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
            "There is only one set; further sets of as many images under `samples:` are compared "
            "with it here."
        )
    if compared["device"].nunique() > 1:
        yield "Seconds on different devices are not comparable: each device has panels of its own."
    if left_out:
        yield (f"Left out, as their checkpoint or number of images differs: {', '.join(left_out)}.")
