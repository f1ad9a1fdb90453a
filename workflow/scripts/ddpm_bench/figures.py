"""Figures of scores against training steps.

What is scored in different feature spaces or against different references never shares an axis:
each such group has a panel of its own.
"""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from .files import replacing
from .tables import METRICS, Metric, best_row, counts, feature_space_label

matplotlib.use("Agg")

DPI = 150
PANEL_WIDTH, PANEL_HEIGHT = 13.0, 5.6  # inches; the legend stands within the width
COLOURS = sns.color_palette("colorblind", 10)
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
DASHES = ["", (4, 2), (1.5, 1.5), (6, 2, 1.5, 2), (8, 3)]
LOG_FROM_RATIO = 20  # largest over smallest value from which an axis is logarithmic
NOTE_COLOUR = "#8a3b00"
FIRST = 25  # checkpoints in the figures named First25

PANEL = ["dataset", "feature_space", "reference"]


@contextmanager
def house_style() -> Iterator[None]:
    """Large fonts on a light grid, whatever the user's own matplotlib settings are."""
    own = {key: value for key, value in matplotlib.rcParamsDefault.items() if "backend" not in key}
    with matplotlib.rc_context(own):
        sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", font_scale=1.35)
        matplotlib.rcParams.update({"font.family": "DejaVu Sans", "axes.titleweight": "bold"})
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, atomically; it names no program or time, so equal figures are equal bytes."""
    with house_style(), replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})


def first_checkpoints(evaluation: pd.DataFrame, count: int = FIRST) -> pd.DataFrame:
    """The rows of the `count` earliest checkpoints that were scored."""
    steps = sorted(evaluation["training_step"].unique())[:count]
    return evaluation[evaluation["training_step"].isin(steps)]


def score_figure(evaluation: pd.DataFrame, columns: list[str], title: str) -> Figure:
    """Curves of the metrics in `columns` against training steps, best checkpoints starred.

    `evaluation` is a table as of tables.evaluation_table, of one experiment or several. There is a
    panel for each metric, dataset, feature space and reference; sets of samples (and experiments)
    are told apart by colour, marker and dashes. Without rows the figure says that there are none.
    """
    if evaluation.empty:
        return empty_figure(
            title, "There are no scores: the config asks for none, or none is done yet."
        )
    rows = with_curves(evaluation)
    looks = curve_looks(rows)
    panels = [
        (metric, group)
        for _, group in rows.groupby(PANEL, sort=True)
        for metric in (METRICS[column] for column in columns)
    ]
    heights = [max(PANEL_HEIGHT, 2 + 0.52 * group["curve"].nunique()) for _, group in panels]
    with house_style():
        figure = Figure((PANEL_WIDTH, sum(heights) + 0.8), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15, hspace=0.04)
        figure.suptitle(title, fontsize=21, fontweight="bold")
        grid = figure.subplots(len(panels), squeeze=False, height_ratios=heights)
        for axes, (metric, group) in zip(grid[:, 0], panels, strict=True):
            draw_panel(axes, group, metric, looks)
    return figure


def with_curves(evaluation: pd.DataFrame) -> pd.DataFrame:
    """The rows with `variant` (samples, and score where one panel has several) and `curve`.

    A curve is a variant of an experiment; the legend names the experiment where there are several.
    """
    within = evaluation.groupby([*PANEL, "experiment", "samples"])["score"]
    variant = evaluation["samples"].where(
        within.transform("nunique") == 1, evaluation["samples"] + " · " + evaluation["score"]
    )
    several = evaluation["experiment"].nunique() > 1
    curve = evaluation["experiment"] + " · " + variant if several else variant
    return evaluation.assign(variant=variant, curve=curve)


def curve_looks(rows: pd.DataFrame) -> dict[str, tuple]:
    """Colour, marker and dashes of each curve, the same in all panels of a figure.

    With several experiments the colour is the experiment's, marker and dashes are the variant's.
    Beyond ten colours markers and dashes go on.
    """
    experiments = sorted(rows["experiment"].unique())
    variants = sorted(rows["variant"].unique())
    looks = {}
    curves = rows[["experiment", "variant", "curve"]].drop_duplicates()
    for experiment, variant, curve in curves.itertuples(index=False):
        style = variants.index(variant)
        hue = experiments.index(experiment) if len(experiments) > 1 else style
        if len(experiments) > 1:
            style += hue // len(COLOURS) * len(variants)
        looks[curve] = (
            COLOURS[hue % len(COLOURS)],
            MARKERS[style % len(MARKERS)],
            DASHES[style % len(DASHES)],
        )
    return looks


def draw_panel(axes: Axes, rows: pd.DataFrame, metric: Metric, looks: dict[str, tuple]) -> None:
    """One metric of rows that may be compared: curves, bands, stars, axes and notes."""
    measured = rows.dropna(subset=[metric.column]).sort_values(["curve", "training_step"])
    if measured.empty:
        say_in_axes(axes, f"{metric.name} could not be measured at any of these checkpoints.")
    else:
        draw_curves(axes, with_segments(rows, metric), metric, looks)
        scale_values(axes, measured, metric)
        scale_steps(axes, rows["training_step"])
        mark_best(axes, measured, metric, looks)
    name_axes(axes, rows, metric)
    write_notes(axes, notes(rows, metric))


def name_axes(axes: Axes, rows: pd.DataFrame, metric: Metric) -> None:
    """Title, image counts and axis labels: whoever sees a panel alone knows what it shows."""
    first = rows.iloc[0]
    space = feature_space_label(first["feature_space"])
    title = textwrap.wrap(f"{first['dataset']} · {space}", 80)
    axes.set_title("\n".join(title), loc="left", pad=34)
    subtitle = (
        f"{counts(rows['images_generated'])} generated against "
        f"{counts(rows['images_reference'])} reference images ({first['reference']})"
    )
    accuracy = rows["classifier_accuracy"].dropna()
    if len(accuracy):
        subtitle += f"; classifier accuracy {accuracy.iloc[0]:.1%}"
    axes.annotate(
        subtitle, (0, 1), xytext=(0, 11), xycoords="axes fraction", textcoords="offset points",
        fontsize=13, color="0.25",
    )  # fmt: skip
    reading = ["lower is better" if metric.lower_is_better else "higher is better"]
    if metric.std:
        reading.insert(0, "± 1 std")
    if axes.get_yscale() == "log":
        reading.append("log axis")
    label = textwrap.wrap(f"{metric.name} ({space})", 32)
    axes.set(xlabel="training steps", ylabel="\n".join([*label, ", ".join(reading)]))


def with_segments(rows: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """The measured rows, numbered by unbroken stretch: a line must not run over a missing value."""
    ordered = rows.sort_values(["curve", "training_step"])
    missing = ordered[metric.column].isna()
    return ordered.assign(segment=missing.cumsum(), step=ordered["training_step"].astype("int64"))[
        ~missing
    ]


def draw_curves(axes: Axes, rows: pd.DataFrame, metric: Metric, looks: dict[str, tuple]) -> None:
    """Lines with markers; a band of one standard deviation where the metric has one."""
    crowded = rows.groupby("curve").size().max() > 30
    sns.lineplot(
        rows, x="step", y=metric.column, hue="curve", style="curve", units="segment",
        estimator=None, legend=False, ax=axes, linewidth=2, markersize=5 if crowded else 8,
        palette={curve: look[0] for curve, look in looks.items()},
        markers={curve: look[1] for curve, look in looks.items()},
        dashes={curve: look[2] for curve, look in looks.items()},
    )  # fmt: skip
    if metric.std is None:
        return
    for (curve, _), stretch in rows.groupby(["curve", "segment"]):
        steps, middle, std = (stretch[name] for name in ("step", metric.column, metric.std))
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
    """Logarithmic where values span much, fixed limits for shares, room for the best value."""
    values = measured[metric.column]
    if metric.column in ("precision", "recall"):
        axes.set_ylim(-0.03, 1.2)
        axes.set_yticks(np.linspace(0, 1, 6))
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


def scale_steps(axes: Axes, steps: pd.Series) -> None:
    """From the start of training to a little after the last checkpoint; steps as 75,000."""
    shown, last = np.unique([0, *steps]), int(steps.max())
    axes.set_xlim(0, 1.05 * last)
    if len(shown) <= 7 and np.diff(shown).min() > 0.1 * last:
        axes.set_xticks(shown)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def mark_best(axes: Axes, measured: pd.DataFrame, metric: Metric, looks: dict[str, tuple]) -> None:
    """Stars at the best checkpoints, values in the legend and at the best of the panel."""
    several_counts = measured["images_generated"].nunique() > 1
    crowded = measured["curve"].nunique() > 2
    best_of_all = best_row(measured, metric)
    handles = []
    for curve, rows in measured.groupby("curve", sort=True):
        colour, marker, dashes = looks[curve]
        best = best_row(rows, metric)
        axes.plot(
            best["training_step"], best[metric.column], marker="*", linestyle="none",
            color=colour, markersize=15 if crowded else 21, markeredgecolor="black", clip_on=False,
            markeredgewidth=1.2, zorder=6 if best.name == best_of_all.name else 5,
        )  # fmt: skip
        size = f" ({best['images_generated']:,} images)" if several_counts else ""
        label = f"{curve}{size}\n★ {best_text(best, metric)}"
        line = Line2D([], [], color=colour, marker=marker, linewidth=2, markersize=8, label=label)
        if dashes:
            line.set_dashes(dashes)
        handles.append(line)
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False,
        fontsize=13, handlelength=3.2,
    )  # fmt: skip
    annotate_best(axes, best_of_all, metric)


def best_text(best: pd.Series, metric: Metric) -> str:
    """As "7.612 at step 900"."""
    return f"{number(best[metric.column])} at step {best['training_step']:,}"


def annotate_best(axes: Axes, best: pd.Series, metric: Metric) -> None:
    """Value and step of the best checkpoint on the side of it that no curve reaches."""
    across = best["training_step"] / axes.get_xlim()[1]
    away = -1 if metric.lower_is_better else 1
    std = 0.0 if metric.std is None or pd.isna(best[metric.std]) else best[metric.std]
    axes.annotate(
        best_text(best, metric),
        (best["training_step"], best[metric.column] + away * std),
        xytext=(0, 15 * away),
        textcoords="offset points",
        ha="left" if across < 0.15 else "right" if across > 0.85 else "center",
        va="top" if metric.lower_is_better else "bottom",
        fontsize=14,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        zorder=7,
    )


def notes(rows: pd.DataFrame, metric: Metric) -> list[str]:
    """What has to be known before a panel is believed."""
    found = [f"Warning: {text}" for text in rows["warning"].unique() if text]
    missing = int(rows[metric.column].isna().sum())
    if 0 < missing < len(rows):
        found.append(
            f"{metric.name} is missing at {missing} of {len(rows)} points; lines break there."
        )
    return found


def write_notes(axes: Axes, texts: list[str]) -> None:
    """Print notes under a panel; the layout makes room for them."""
    lines = [line for text in texts for line in textwrap.wrap(text, 105)]
    axes.annotate(
        "\n".join(lines), (0, 0), xytext=(0, -62), xycoords="axes fraction",
        textcoords="offset points", va="top", fontsize=12.5, color=NOTE_COLOUR,
        annotation_clip=False,
    )  # fmt: skip


def say_in_axes(axes: Axes, text: str) -> None:
    """A sentence in place of curves."""
    axes.set(xticks=[], yticks=[])
    wrapped = "\n".join(textwrap.wrap(text, 60))
    axes.text(
        0.5,
        0.5,
        wrapped,
        ha="center",
        va="center",
        transform=axes.transAxes,
        fontsize=16,
        color="0.3",
    )


def empty_figure(title: str, text: str) -> Figure:
    """A figure that says why it shows nothing."""
    with house_style():
        figure = Figure((PANEL_WIDTH, 4), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.3, h_pad=0.3)
        figure.suptitle(title, fontsize=21, fontweight="bold")
        say_in_axes(figure.subplots(), text)
    return figure


def number(value: float) -> str:
    """Four significant digits with a true minus sign: 175.2, 7.612, −0.00012."""
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def score_figures(evaluation: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """The figures of one experiment, each under its file name."""
    experiment = "" if evaluation.empty else f"{evaluation['experiment'].iloc[0]}: "
    early, only = first_checkpoints(evaluation), f"first {FIRST} checkpoints"
    for name, columns, title in (
        ("FID", ["fid"], f"{experiment}FID"),
        ("IS", ["is_mean"], f"{experiment}Inception Score"),
    ):
        yield f"{name}_vs_TrainingSteps.png", score_figure(evaluation, columns, title)
        yield (
            f"{name}_vs_TrainingSteps_First25.png",
            score_figure(early, columns, f"{title}, {only}"),
        )
    yield (
        "KID_vs_TrainingSteps.png",
        score_figure(evaluation, ["kid_mean"], f"{experiment}KID"),
    )
    yield (
        "PrecisionRecall_vs_TrainingSteps.png",
        score_figure(evaluation, ["precision", "recall"], f"{experiment}precision and recall"),
    )


def comparison_figures(evaluation: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    """The figures of all experiments together, each under its file name."""
    for metric, name in (("fid", "FID"), ("kid_mean", "KID"), ("is_mean", "Inception Score")):
        title = f"{name} of all experiments"
        yield f"{METRICS[metric].name}_comparison.png", score_figure(evaluation, [metric], title)
