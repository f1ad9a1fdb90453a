"""One panel of a figure of scores: curves of a metric against training steps or hours."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, ScalarFormatter

from ddpm_bench.config.published import PublishedOf
from ddpm_bench.records.scores import Metric, feature_space_label
from ddpm_bench.report.figures.axes import STEPS, HorizontalAxis
from ddpm_bench.report.figures.published_lines import draw_published
from ddpm_bench.report.figures.style import number, say_in_axes, write_notes
from ddpm_bench.report.tables.score_tables import best_row, counts, metric_label, reference_is_small

SHARES = ("precision", "recall", "coverage", "closer_than_heldout")  # from 0 to 1
NO_BREAK = "\N{NO-BREAK SPACE}"
LOG_FROM_RATIO = 20  # largest over smallest value from which an axis is logarithmic


@dataclass(frozen=True)
class Expectation(Metric):
    """A metric without a best value, compared with the value expected without memorising."""

    expected: float
    meaning: str  # of the expected value, in words


@dataclass(frozen=True)
class Panel:
    """The comparable rows of one panel, and the metric to draw."""

    rows: pd.DataFrame
    metric: Metric
    against: HorizontalAxis = STEPS
    published: Sequence[PublishedOf] = ()
    notes: Sequence[str] = ()


def draw_panel(axes: Axes, panel: Panel, looks: dict[str, tuple]) -> None:
    """Draw curves, bands, stars, published lines, axes and notes of a panel."""
    rows, metric, against = panel.rows, panel.metric, panel.against
    measured = rows.dropna(subset=[metric.column]).sort_values(["curve", against.column])
    if measured.empty:
        needs = " It needs held-out images." if isinstance(metric, Expectation) else ""
        text = f"{metric.name} could not be measured at any of these checkpoints."
        say_in_axes(axes, text + needs)
    else:
        draw_curves(axes, with_segments(rows, metric, against), metric, looks)
        scale_values(axes, measured, metric)
        against.scale(axes, rows[against.column])
        best = None if isinstance(metric, Expectation) else best_row(measured, metric)
        best_at = None if best is None else best[against.column]
        draw_published(axes, panel.published, metric, best_at)
        if isinstance(metric, Expectation):
            draw_expectation(axes, metric)
        else:
            mark_best(axes, measured, metric, looks, against)
        write_legend(axes, measured, metric, looks, against)
    name_axes(axes, rows, metric, against)
    write_notes(axes, [*notes(rows, metric), *panel.notes])


def name_axes(axes: Axes, rows: pd.DataFrame, metric: Metric, against: HorizontalAxis) -> None:
    """Write title, image counts and axis labels, so that the panel is clear by itself."""
    first = rows.iloc[0]
    title = textwrap.wrap(f"{first['dataset']} · {feature_space_label(first['feature_space'])}", 80)
    axes.set_title("\n".join(title), loc="left", pad=34)
    subtitle = f"{counts(rows['images_generated'])} generated against {held_against(rows, metric)}"
    accuracy = rows["classifier_accuracy"].dropna()
    if len(accuracy):
        subtitle += f"; classifier accuracy {accuracy.iloc[0]:.1%}"
    axes.annotate(
        subtitle, (0, 1), xytext=(0, 11), xycoords="axes fraction", textcoords="offset points",
        fontsize=13, color="0.25",
    )  # fmt: skip
    label = textwrap.wrap(metric_label(first, metric), 42)
    axes.set(xlabel=against.label, ylabel="\n".join([*label, *how_to_read(axes, rows, metric)]))


def how_to_read(axes: Axes, rows: pd.DataFrame, metric: Metric) -> list[str]:
    """Return the further lines of an axis label: band, better direction, and scale."""
    parts = []
    if has_std(rows, metric):
        parts.append("± 1 bootstrap std" if metric.column == "fid" else "± 1 std")
    if isinstance(metric, Expectation):
        parts.append(metric.meaning)
    else:
        parts.append("lower is better" if metric.lower_is_better else "higher is better")
    if axes.get_yscale() == "log":
        parts.append("log axis")
    unbroken = ", ".join(part.replace(" ", NO_BREAK) for part in parts)
    lines = [line.replace(NO_BREAK, " ") for line in textwrap.wrap(unbroken, 42)]
    if metric.column == "fid" and reference_is_small(rows):
        lines.append("biased upwards: read KID first")
    return lines


def held_against(rows: pd.DataFrame, metric: Metric) -> str:
    """Return the images or statistics that a panel's images are compared with, in words."""
    first = rows.iloc[0]
    if metric.column == "fid" and first["fid_reference"] != first["reference"]:
        return f"the published statistics {first['fid_reference']}"
    if isinstance(metric, Expectation):
        return "held-out images by their nearest training images"
    return f"{counts(rows['images_reference'])} reference images ({first['reference']})"


def has_std(rows: pd.DataFrame, metric: Metric) -> bool:
    """Return True if these rows have a standard deviation of the metric."""
    return metric.std is not None and bool(rows[metric.std].notna().any())


def with_segments(rows: pd.DataFrame, metric: Metric, against: HorizontalAxis) -> pd.DataFrame:
    """Return the measured rows with `segment`, the number of the unbroken stretch, and `across`.

    A line must not run over a missing value. `across` is the horizontal position.
    """
    ordered = rows.sort_values(["curve", against.column])
    missing = ordered[metric.column].isna()
    across = ordered[against.column].astype("float64")
    return ordered.assign(segment=missing.cumsum(), across=across)[~missing]


def draw_curves(axes: Axes, rows: pd.DataFrame, metric: Metric, looks: dict[str, tuple]) -> None:
    """Draw lines with markers, and a band of one standard deviation if the metric has one."""
    crowded = rows.groupby("curve").size().max() > 30
    sns.lineplot(
        rows, x="across", y=metric.column, hue="curve", style="curve", units="segment",
        estimator=None, legend=False, ax=axes, linewidth=2, markersize=5 if crowded else 8,
        palette={curve: look[0] for curve, look in looks.items()},
        markers={curve: look[1] for curve, look in looks.items()},
        dashes={curve: look[2] for curve, look in looks.items()},
    )  # fmt: skip
    if not has_std(rows, metric):
        return
    for (curve, _), stretch in rows.groupby(["curve", "segment"]):
        steps, middle, std = (stretch[name] for name in ("across", metric.column, metric.std))
        if len(stretch) > 1:
            axes.fill_between(
                steps, middle - std, middle + std, color=looks[curve][0], alpha=0.18, linewidth=0
            )
        else:
            axes.errorbar(steps, middle, std, color=looks[curve][0], capsize=5, linewidth=2)


class PlainNumbers(ScalarFormatter):
    """Tick labels of equal decimals, without powers of ten; none below `floor`.

    FID is never negative, KID may be: room left under a curve must not look like values.
    """

    def __init__(self, floor: float) -> None:
        super().__init__(useOffset=False)
        self.set_scientific(False)
        self.floor = floor

    def __call__(self, x: float, pos: int | None = None) -> str:
        return "" if x < self.floor else super().__call__(x, pos)


def scale_values(axes: Axes, measured: pd.DataFrame, metric: Metric) -> None:
    """Scale the value axis: logarithmic for a wide range, 0 to 1 for shares, with room at the best
    end."""
    values = measured[metric.column]
    if metric.column in SHARES:
        axes.set_ylim(-0.03, 1.2)
        axes.set_yticks(np.linspace(0, 1, 6))
        return
    if isinstance(metric, Expectation):
        top = 1.15 * max(values.max(), 2 * metric.expected)
        axes.set_ylim(-0.03 * top, top)
        axes.yaxis.set_major_formatter(PlainNumbers(0))
        return
    lowest = (values - measured[metric.std].fillna(0)).min() if metric.std else values.min()
    if metric.lower_is_better and lowest > 0 and values.max() / lowest > LOG_FROM_RATIO:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    else:
        axes.yaxis.set_major_formatter(PlainNumbers(0 if lowest >= 0 else -np.inf))
    transform = axes.yaxis.get_transform()
    low, high = transform.transform(np.array(axes.get_ylim()))
    room = 0.2 * (high - low)
    low, high = (low - room, high) if metric.lower_is_better else (low, high + room)
    axes.set_ylim(*transform.inverted().transform(np.array([low, high])))
    if axes.get_yscale() == "linear" and low < 0 < high:
        axes.axhline(0, color="0.4", linewidth=1.2, zorder=1)


def draw_expectation(axes: Axes, metric: Expectation) -> None:
    """Draw a line at the expected value."""
    axes.axhline(metric.expected, color="0.25", linewidth=1.8, linestyle=(0, (5, 3)), zorder=1)
    axes.annotate(
        f"{metric.expected:g} expected", (0, metric.expected), xytext=(4, 4), va="bottom",
        xycoords=axes.get_yaxis_transform(), textcoords="offset points", fontsize=13,
        color="0.25", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )  # fmt: skip


def mark_best(
    axes: Axes,
    measured: pd.DataFrame,
    metric: Metric,
    looks: dict[str, tuple],
    against: HorizontalAxis,
) -> None:
    """Draw a star at the best checkpoint of each curve, and label the best of the panel."""
    crowded = measured["curve"].nunique() > 2
    best_of_all = best_row(measured, metric)
    for curve, rows in measured.groupby("curve", sort=True):
        best = best_row(rows, metric)
        axes.plot(
            best[against.column], best[metric.column], marker="*", linestyle="none",
            color=looks[curve][0], markersize=15 if crowded else 21, markeredgecolor="black",
            clip_on=False, markeredgewidth=1.2, zorder=6 if best.name == best_of_all.name else 5,
        )  # fmt: skip
    annotate_best(axes, best_of_all, metric, against)


def write_legend(
    axes: Axes,
    measured: pd.DataFrame,
    metric: Metric,
    looks: dict[str, tuple],
    against: HorizontalAxis,
) -> None:
    """Write the name of each curve with its best value, or its latest if there is no best."""
    several_counts = measured["images_generated"].nunique() > 1
    handles = []
    for curve, rows in measured.groupby("curve", sort=True):
        colour, marker, dashes = looks[curve]
        if isinstance(metric, Expectation):
            row, sign = rows.iloc[-1], "latest:"
        else:
            row, sign = best_row(rows, metric), "★"
        size = f" ({row['images_generated']:,} images)" if several_counts else ""
        label = f"{curve}{size}\n{sign} {value_at(row, metric, against)}"
        line = Line2D([], [], color=colour, marker=marker, linewidth=2, markersize=8, label=label)
        if dashes:
            line.set_dashes(dashes)
        handles.append(line)
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False,
        fontsize=13, handlelength=3.2,
    )  # fmt: skip


def value_at(row: pd.Series, metric: Metric, against: HorizontalAxis) -> str:
    """Return a value and its position, like "7.612 at step 900"."""
    return f"{number(row[metric.column])} at {against.at(row[against.column])}"


def annotate_best(axes: Axes, best: pd.Series, metric: Metric, against: HorizontalAxis) -> None:
    """Write value and step of the best checkpoint on the side where no curve is."""
    across = best[against.column] / axes.get_xlim()[1]
    away = -1 if metric.lower_is_better else 1
    std = 0.0 if metric.std is None or pd.isna(best[metric.std]) else best[metric.std]
    axes.annotate(
        value_at(best, metric, against),
        (best[against.column], best[metric.column] + away * std),
        xytext=(0, 15 * away),
        textcoords="offset points",
        ha="left" if across < 0.15 else "right" if across > 0.85 else "center",
        va="top" if metric.lower_is_better else "bottom",
        fontsize=14,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        zorder=7,
    )


def notes(rows: pd.DataFrame, metric: Metric) -> list[str]:
    """Return the caveats of a panel: warnings and missing values."""
    found = [f"Warning: {text}" for text in rows["warning"].unique() if text]
    missing = int(rows[metric.column].isna().sum())
    if 0 < missing < len(rows):
        found.append(
            f"{metric.name} is missing at {missing} of {len(rows)} points; lines break there."
        )
    return found
