"""Figures of scores against training steps.

Scores in different feature spaces, against different references or with different resizes never
share an axis: each such group has a panel of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from ddpm_bench.config.published import PublishedOf
from ddpm_bench.records.layout import FIRST_CHECKPOINTS
from ddpm_bench.records.memorised_share import CHANCE
from ddpm_bench.records.scores import METRICS, Metric
from ddpm_bench.report.figures.published_lines import published_elsewhere, published_in
from ddpm_bench.report.figures.score_panels import Expectation, Panel, draw_panel
from ddpm_bench.report.figures.style import (
    COLOURS,
    DASHES,
    MARKERS,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    CurveStyle,
    empty_figure,
    house_style,
    new_figure,
)
from ddpm_bench.report.tables.score_tables import reference_is_small

# Figures that there are of the first checkpoints, too: file name, column and title.
FIRST_DRAWN = [("FID", "fid", "FID"), ("IS", "is_mean", "Inception Score")]

# Columns with equal values within a panel: for any metric, and for FID, which depends on more.
PANEL = ["dataset", "feature_space", "reference"]
FID_PANEL = [*PANEL, "fid_backend", "fid_reference"]

# Meehan et al. 2020: images of a model that has not memorised are as often closer to a training
# image as held-out images are; records/memorised_share has the definition of the share.
MEMORISING = [
    Expectation(
        "closer_than_heldout", "closer than held-out", lower_is_better=True, std=None, decimals=3,
        expected=0.5, meaning="towards 1: copies of training images",
    ),
    Expectation(
        "memorised_share", "memorised share", lower_is_better=True, std=None, decimals=3,
        expected=CHANCE, meaning="share closer than 95% of held-out images",
        by_chance=("memorised_chance_low", "memorised_chance_high"),
    ),
]  # fmt: skip


def first_checkpoints(evaluation: pd.DataFrame, count: int = FIRST_CHECKPOINTS) -> pd.DataFrame:
    """Return the rows of the `count` earliest scored checkpoints."""
    steps = sorted(evaluation["training_step"].unique())[:count]
    return evaluation[evaluation["training_step"].isin(steps)]


def score_figure(
    evaluation: pd.DataFrame,
    metrics: list[Metric],
    title: str,
    published: Sequence[PublishedOf] = (),
) -> Figure:
    """Draw curves of the metrics against training steps, with the best checkpoints starred.

    `evaluation` is a table of `score_tables.evaluation_table`, of one experiment or several. There
    is a panel for each metric, dataset, feature space and reference; sets of samples (and
    experiments) have different colours, markers and dashes. FID has KID above it where the
    reference is small. `published` are drawn as lines in comparable panels. Without rows the figure
    holds a sentence.
    """
    if evaluation.empty:
        return empty_figure(
            title, "There are no scores: the config asks for none, or none is done yet."
        )
    panel = FID_PANEL if METRICS["fid"] in metrics else PANEL
    rows = with_curves(evaluation, panel)
    panels = [
        Panel(group, metric, published=published_in(published, group, metric))
        for _, group in rows.groupby(panel, sort=True)
        for metric in with_kid_first(metrics, group)
    ]
    panels = with_notes_of_others(panels, metrics, published)
    return figure_of_panels(panels, title, curve_styles(rows))


def figure_of_panels(panels: Sequence[Panel], title: str, styles: dict[str, CurveStyle]) -> Figure:
    """Draw panels below each other, high enough for their legends."""
    heights = [max(PANEL_HEIGHT, 2 + 0.52 * panel.rows["curve"].nunique()) for panel in panels]
    with house_style():
        figure = new_figure(title, PANEL_WIDTH, sum(heights) + 0.8, hspace=0.04)
        grid = figure.subplots(len(panels), squeeze=False, height_ratios=heights)
        for axes, panel in zip(grid[:, 0], panels, strict=True):
            draw_panel(axes, panel, styles)
    return figure


def with_notes_of_others(
    panels: list[Panel], metrics: list[Metric], published: Sequence[PublishedOf]
) -> list[Panel]:
    """Return the panels, with a note under the last one on published scores without a panel."""
    columns = {metric.column for metric in metrics}
    drawn = [line for panel in panels for line in panel.published]
    others = [line for line in published if line.column in columns and line not in drawn]
    last = replace(panels[-1], notes=[*panels[-1].notes, *published_elsewhere(others)])
    return [*panels[:-1], last]


def with_kid_first(metrics: list[Metric], rows: pd.DataFrame) -> list[Metric]:
    """Return the metrics, after KID if they hold an FID that is biased by a small reference."""
    fid, kid = METRICS["fid"], METRICS["kid_mean"]
    if fid in metrics and kid not in metrics and reference_is_small(rows):
        return [kid, *metrics]
    return metrics


def with_curves(evaluation: pd.DataFrame, panel: list[str]) -> pd.DataFrame:
    """Return the rows with the columns `variant` and `curve`.

    A variant is a set of samples, with the score's name if several scores share a panel. A curve is
    a variant of an experiment; its name has the experiment's if there are several.
    """
    within = evaluation.groupby([*panel, "experiment", "samples"])["score"]
    variant = evaluation["samples"].where(
        within.transform("nunique") == 1, evaluation["samples"] + " · " + evaluation["score"]
    )
    several = evaluation["experiment"].nunique() > 1
    curve = evaluation["experiment"] + " · " + variant if several else variant
    return evaluation.assign(variant=variant, curve=curve)


def curve_styles(rows: pd.DataFrame) -> dict[str, CurveStyle]:
    """Return the style of each curve, the same in all panels of a figure.

    With several experiments the colour is the experiment's, marker and dashes are the variant's.
    Beyond ten colours other markers and dashes follow.
    """
    experiments = sorted(rows["experiment"].unique())
    variants = sorted(rows["variant"].unique())
    styles = {}
    curves = rows[["experiment", "variant", "curve"]].drop_duplicates()
    for experiment, variant, curve in curves.itertuples(index=False):
        shape = variants.index(variant)
        hue = experiments.index(experiment) if len(experiments) > 1 else shape
        if len(experiments) > 1:
            shape += hue // len(COLOURS) * len(variants)
        styles[curve] = CurveStyle(
            COLOURS[hue % len(COLOURS)], MARKERS[shape % len(MARKERS)], DASHES[shape % len(DASHES)]
        )
    return styles


def score_figures(
    evaluation: pd.DataFrame, published: Sequence[PublishedOf] = ()
) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of all checkpoints of one experiment, each with its file name."""
    experiment = experiment_of(evaluation)
    for name, metrics, title in (
        *((name, [METRICS[column]], title) for name, column, title in FIRST_DRAWN),
        ("KID", [METRICS["kid_mean"]], "KID"),
        ("PrecisionRecall", [METRICS["precision"], METRICS["recall"]], "precision and recall"),
        ("DensityCoverage", [METRICS["density"], METRICS["coverage"]], "density and coverage"),
        ("Memorising", MEMORISING, "distance to training images"),
    ):
        figure = score_figure(evaluation, metrics, f"{experiment}{title}", published)
        yield f"{name}_vs_TrainingSteps.png", figure


def first_figures(
    evaluation: pd.DataFrame, published: Sequence[PublishedOf] = ()
) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of an experiment's first checkpoints, each with its file name."""
    early, only = first_checkpoints(evaluation), f"first {FIRST_CHECKPOINTS} checkpoints"
    for name, column, title in FIRST_DRAWN:
        title = f"{experiment_of(evaluation)}{title}, {only}"
        figure = score_figure(early, [METRICS[column]], title, published)
        yield f"{name}_vs_TrainingSteps_First{FIRST_CHECKPOINTS}.png", figure


def experiment_of(evaluation: pd.DataFrame) -> str:
    """Return the beginning of a title: the experiment's name, if there are scores."""
    return "" if evaluation.empty else f"{evaluation['experiment'].iloc[0]}: "


def has_more_than_the_first(evaluation: pd.DataFrame) -> bool:
    """Return True if there are more scored checkpoints than the figures of the first ones show."""
    return evaluation["training_step"].nunique() > FIRST_CHECKPOINTS


def comparison_figures(
    evaluation: pd.DataFrame, published: Sequence[PublishedOf] = ()
) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of all experiments together, each with its file name."""
    for column, name in (("fid", "FID"), ("kid_mean", "KID"), ("is_mean", "Inception Score")):
        metric, title = METRICS[column], f"{name} of all experiments"
        yield f"{metric.name}_comparison.png", score_figure(evaluation, [metric], title, published)
