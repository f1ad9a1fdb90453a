"""One panel of a figure of scores: curves of a metric against training steps or hours."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ddpm_bench.config.published import PublishedOf
from ddpm_bench.records.score_warnings import warnings_about
from ddpm_bench.records.scores import Metric, feature_space_label
from ddpm_bench.report.figures.axes import (
    STEPS,
    HorizontalAxis,
    PlainNumbers,
    is_wide,
    make_logarithmic,
)
from ddpm_bench.report.figures.published_lines import draw_published
from ddpm_bench.report.figures.style import (
    CurveStyle,
    write_in_axes,
    write_legend,
    write_notes,
    write_title,
)
from ddpm_bench.report.tables.score_tables import (
    best_row,
    best_rows,
    deviation_is_rough,
    metric_label,
    reference_is_small,
)
from ddpm_bench.report.text import counts, number

SHARES = ("precision", "recall", "coverage", "closer_than_heldout")  # from 0 to 1
ROOM_OF_LABEL = 0.12  # share of the height
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Expectation(Metric):
    """A metric without a best value, compared with the value expected without memorising."""

    expected: float
    meaning: str  # of the expected value, in words
    by_chance: tuple[str, str] | None = None  # columns of the interval of values without memorising


@dataclass(frozen=True)
class Panel:
    """The comparable rows of one panel, and the metric to draw."""

    rows: pd.DataFrame
    metric: Metric
    against: HorizontalAxis = STEPS
    published: Sequence[PublishedOf] = ()
    notes: Sequence[str] = ()

    def measured(self) -> pd.DataFrame:
        """Return the rows with a value, by curve and position."""
        found = self.rows.dropna(subset=[self.metric.column])
        return found.sort_values(["curve", self.against.column])


def draw_panel(axes: Axes, panel: Panel, styles: dict[str, CurveStyle]) -> None:
    """Draw curves, bands, stars, published lines, axes and notes of a panel."""
    metric = panel.metric
    measured = panel.measured()
    if measured.empty:
        needs = " It needs held-out images." if isinstance(metric, Expectation) else ""
        text = f"{metric.name} could not be measured at any of these checkpoints."
        write_in_axes(axes, text + needs)
    else:
        draw_curves(axes, panel, styles)
        scale_values(axes, measured, metric)
        panel.against.scale(axes, panel.rows[panel.against.column])
        best = None if isinstance(metric, Expectation) else best_row(measured, metric)
        best_at = None if best is None else best[panel.against.column]
        draw_published(axes, panel.published, metric, best_at)
        if isinstance(metric, Expectation):
            draw_expectation(axes, metric, measured)
        else:
            mark_best(axes, panel, styles)
        name_curves(axes, panel, styles)
    name_axes(axes, panel)
    write_notes(axes, [*notes(panel.rows, metric), *panel.notes])


def name_axes(axes: Axes, panel: Panel) -> None:
    """Write title, image counts and axis labels, so that the panel is clear by itself."""
    rows, metric = panel.rows, panel.metric
    first = rows.iloc[0]
    subtitle = f"{counts(rows['images_generated'])} generated against {held_against(rows, metric)}"
    accuracy = rows["classifier_accuracy"].dropna()
    if len(accuracy):
        subtitle += f"; classifier accuracy {accuracy.iloc[0]:.1%}"
    write_title(
        axes, f"{first['dataset']} · {feature_space_label(first['feature_space'])}", subtitle
    )
    label = textwrap.wrap(metric_label(first, metric), 42)
    axes.set(
        xlabel=panel.against.label, ylabel="\n".join([*label, *how_to_read(axes, rows, metric)])
    )


def how_to_read(axes: Axes, rows: pd.DataFrame, metric: Metric) -> list[str]:
    """Return the further lines of an axis label: band, better direction, and scale."""
    parts = []
    if has_std(rows, metric):
        parts.append("± 1 rough std" if deviation_is_rough(rows, metric) else "± 1 std")
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


def with_segments(panel: Panel) -> pd.DataFrame:
    """Return the measured rows with `segment`, the number of the unbroken stretch, and `across`.

    A line must not run over a missing value. `across` is the horizontal position.
    """
    ordered = panel.rows.sort_values(["curve", panel.against.column])
    missing = ordered[panel.metric.column].isna()
    across = ordered[panel.against.column].astype("float64")
    return ordered.assign(segment=missing.cumsum(), across=across)[~missing]


def draw_curves(axes: Axes, panel: Panel, styles: dict[str, CurveStyle]) -> None:
    """Draw lines with markers, and a band of one standard deviation if the metric has one."""
    rows, metric = with_segments(panel), panel.metric
    crowded = rows.groupby("curve").size().max() > 30
    sns.lineplot(
        rows, x="across", y=metric.column, hue="curve", style="curve", units="segment",
        estimator=None, legend=False, ax=axes, linewidth=2, markersize=5 if crowded else 8,
        clip_on=False,  # markers at 0
        palette={curve: style.colour for curve, style in styles.items()},
        markers={curve: style.marker for curve, style in styles.items()},
        dashes={curve: style.dashes for curve, style in styles.items()},
    )  # fmt: skip
    if not has_std(panel.rows, metric):
        return
    for (curve, _), stretch in rows.groupby(["curve", "segment"]):
        steps, middle, std = (stretch[name] for name in ("across", metric.column, metric.std))
        colour = styles[curve].colour
        if len(stretch) > 1:
            axes.fill_between(
                steps, middle - std, middle + std, color=colour, alpha=0.18, linewidth=0
            )
        else:
            axes.errorbar(steps, middle, std, color=colour, capsize=5, linewidth=2)


def scale_values(axes: Axes, measured: pd.DataFrame, metric: Metric) -> None:
    """Scale the value axis: logarithmic for a wide range, from 0 where no value can be negative.

    Shares have an axis from 0 to 1; there is room at the best end.
    """
    values = measured[metric.column]
    if metric.column in SHARES:
        axes.set_ylim(0, 1.2)
        axes.set_yticks(np.linspace(0, 1, 6))
        return
    if isinstance(metric, Expectation):
        highest = [values.max(), 2 * metric.expected]
        if metric.by_chance is not None:
            highest.append(measured[metric.by_chance[1]].max())
        axes.set_ylim(0, 1.15 * np.nanmax(highest))
        axes.yaxis.set_major_formatter(PlainNumbers(0))
        return
    lowest = (values - measured[metric.std].fillna(0)).min() if metric.std else values.min()
    if metric.lower_is_better and is_wide(lowest, values.max()):
        make_logarithmic(axes.yaxis)
    else:
        axes.yaxis.set_major_formatter(PlainNumbers(0 if lowest >= 0 else -np.inf))
    from_zero = axes.get_yscale() == "linear" and metric.never_negative
    if from_zero:
        axes.set_ylim(bottom=0)
    transform = axes.yaxis.get_transform()
    low, high = transform.transform(np.array(axes.get_ylim()))
    room = 0.2 * (high - low)
    low, high = (low - room, high) if metric.lower_is_better else (low, high + room)
    axes.set_ylim(*transform.inverted().transform(np.array([low, high])))
    if from_zero:
        axes.set_ylim(bottom=0)
    elif axes.get_yscale() == "linear" and low < 0 < high:
        axes.axhline(0, color="0.4", linewidth=1.2, zorder=1)


def draw_expectation(axes: Axes, metric: Expectation, measured: pd.DataFrame) -> None:
    """Draw a line at the expected value, and the interval of values that chance gives."""
    axes.axhline(metric.expected, color="0.25", linewidth=1.8, linestyle=(0, (5, 3)), zorder=1)
    text = f"{metric.expected:g} expected"
    if metric.by_chance is not None:
        low, high = (measured[column] for column in metric.by_chance)
        if low.notna().any():
            axes.axhspan(low.min(), high.max(), color="0.25", alpha=0.12, linewidth=0, zorder=0)
            text += f", {number(low.min(), 2)} to {number(high.max(), 2)} by chance (95%)"
    axes.annotate(
        text, (0, metric.expected), xytext=(4, 4), va="bottom",
        xycoords=axes.get_yaxis_transform(), textcoords="offset points", fontsize=13,
        color="0.25", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )  # fmt: skip


def mark_best(axes: Axes, panel: Panel, styles: dict[str, CurveStyle]) -> None:
    """Draw stars at the best checkpoints of each curve, and label the best of the panel.

    Equal ones have a star each; where all of several are equal, none has (`best_rows`).
    """
    measured, metric, column = panel.measured(), panel.metric, panel.against.column
    crowded = measured["curve"].nunique() > 2
    best_of_all = best_row(measured, metric)
    for curve, rows in measured.groupby("curve", sort=True):
        best = best_rows(rows, metric)
        axes.plot(
            best[column], best[metric.column], marker="*", linestyle="none",
            color=styles[curve].colour, markersize=15 if crowded else 21, markeredgecolor="black",
            clip_on=False, markeredgewidth=1.2, zorder=6 if best_of_all.name in best.index else 5,
        )  # fmt: skip
    if len(best_rows(measured, metric)):
        annotate_best(axes, best_of_all, metric, panel.against)


def name_curves(axes: Axes, panel: Panel, styles: dict[str, CurveStyle]) -> None:
    """Write the name of each curve with its best value, or its latest if there is no best."""
    measured, metric = panel.measured(), panel.metric
    several_counts = measured["images_generated"].nunique() > 1
    handles = []
    for curve, rows in measured.groupby("curve", sort=True):
        colour, marker, dashes = styles[curve]
        if isinstance(metric, Expectation):
            row, sign = rows.iloc[-1], "latest:"
        else:
            row = best_row(rows, metric)
            sign = "★" if len(best_rows(rows, metric)) else "all equal:"
        size = f" ({row['images_generated']:,} images)" if several_counts else ""
        label = f"{curve}{size}\n{sign} {value_at(row, metric, panel.against)}"
        line = Line2D([], [], color=colour, marker=marker, linewidth=2, markersize=8, label=label)
        if dashes:
            line.set_dashes(dashes)
        handles.append(line)
    write_legend(axes, handles, handlelength=3.2)


def value_at(row: pd.Series, metric: Metric, against: HorizontalAxis) -> str:
    """Return a value and its position, like "7.612 at step 900"."""
    return f"{number(row[metric.column])} at {against.at(row[against.column])}"


def annotate_best(axes: Axes, best: pd.Series, metric: Metric, against: HorizontalAxis) -> None:
    """Write value and step of the best checkpoint on the side where no curve is."""
    across = best[against.column] / axes.get_xlim()[1]
    std = 0.0 if metric.std is None or pd.isna(best[metric.std]) else best[metric.std]
    away, points = -1 if metric.lower_is_better else 1, 15
    if away < 0 and not leaves_room_below(axes, best[metric.column] - std):
        away, points = 1, 42  # farther from the curve, which falls to its best
    axes.annotate(
        value_at(best, metric, against),
        (best[against.column], best[metric.column] + away * std),
        xytext=(0, points * away),
        textcoords="offset points",
        ha="left" if across < 0.15 else "right" if across > 0.85 else "center",
        va="top" if away < 0 else "bottom",
        fontsize=14,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        zorder=7,
    )


def leaves_room_below(axes: Axes, value: float) -> bool:
    """Return True if a label fits between a value and the lower end of the axis."""
    transform = axes.yaxis.get_transform()
    low, high, place = transform.transform(np.array([*axes.get_ylim(), max(value, 1e-300)]))
    return (place - low) / (high - low) > ROOM_OF_LABEL


def notes(rows: pd.DataFrame, metric: Metric) -> list[str]:
    """Return the caveats of a panel: warnings about its metric, and missing values."""
    found = [f"Warning: {text}" for text in warnings_about(rows["warning"], [metric.column])]
    missing = int(rows[metric.column].isna().sum())
    if 0 < missing < len(rows):
        found.append(
            f"{metric.name} is missing at {missing} of {len(rows)} points; lines break there."
        )
    return found
