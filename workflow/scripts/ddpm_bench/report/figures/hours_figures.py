"""Figures of scores against hours of training."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from ddpm_bench.config.published import PublishedOf
from ddpm_bench.records.scores import METRICS, Metric
from ddpm_bench.report.figures.axes import HorizontalAxis
from ddpm_bench.report.figures.published_lines import published_in
from ddpm_bench.report.figures.score_figures import (
    FID_PANEL,
    PANEL,
    curve_styles,
    figure_of_panels,
    with_curves,
    with_kid_first,
    with_notes_of_others,
)
from ddpm_bench.report.figures.score_panels import Panel
from ddpm_bench.report.figures.style import empty_figure
from ddpm_bench.report.tables.training_hours import GPU
from ddpm_bench.report.text import number, time_unit


def hours_figures(
    evaluation: pd.DataFrame, hours: pd.DataFrame, published: Sequence[PublishedOf] = ()
) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of all experiments together, each with its file name.

    evaluation: a `score_tables.evaluation_table`; hours: a table with the columns
    training_hours.COLUMNS.
    """
    rows = evaluation.merge(hours, on=["experiment", "training_step"], how="inner")
    unknown = sorted(set(evaluation["experiment"]) - set(rows["experiment"]))
    for column, name in (("fid", "FID"), ("kid_mean", "KID"), ("is_mean", "Inception Score")):
        metric, title = METRICS[column], f"{name} against training time"
        figure = hours_figure(rows, metric, title, published=published, unknown=unknown)
        yield f"{metric.name}_vs_GPUHours.png", figure


def hours_figure(
    rows: pd.DataFrame,
    metric: Metric,
    title: str,
    *,
    published: Sequence[PublishedOf],
    unknown: Sequence[str],
) -> Figure:
    """Draw a metric in panels like those of `score_figure`; GPU and CPU hours never share a panel.

    unknown: experiments without a known training time, which a note lists.
    """
    if rows.empty:
        return empty_figure(title, "The training time of none of the scored checkpoints is known.")
    kinds = [*(FID_PANEL if metric.column == "fid" else PANEL), "processes_are"]
    rows = with_curves(rows, kinds)
    panels = [
        panel_against_hours(group, one, published)
        for _, group in rows.groupby(kinds, sort=True)
        for one in with_kid_first([metric], group)
    ]
    panels = with_notes_of_others(panels, [metric], published)
    if unknown:
        note = f"Without a known training time, and left out: {', '.join(unknown)}."
        panels[-1] = replace(panels[-1], notes=[*panels[-1].notes, note])
    return figure_of_panels(panels, title, curve_styles(rows))


def panel_against_hours(
    rows: pd.DataFrame, metric: Metric, published: Sequence[PublishedOf]
) -> Panel:
    """Return a panel of the rows with the column `taken`, in a unit that gives short numbers."""
    factor, unit = time_unit(rows["process_hours"].max())
    gpus = rows["processes_are"].iloc[0] == GPU
    name = f"{'GPU' if gpus else 'process'}-{unit}s"
    label = f"{name} of training" + ("" if gpus else " (CPU)")
    taken = rows.assign(taken=factor * rows["process_hours"])
    lines = published_in(published, rows, metric)
    return Panel(
        taken, metric, HorizontalAxis("taken", label, name), lines, latent_notes(taken, name)
    )


def latent_notes(rows: pd.DataFrame, unit: str) -> list[str]:
    """Return notes on the time of an autoencoder's training with which latent experiments begin."""
    latent = rows[rows["autoencoder"] != ""]
    factor = rows["taken"] / rows["process_hours"]
    notes = []
    for (experiment, autoencoder), group in latent.groupby(["experiment", "autoencoder"]):
        before = float((group["autoencoder_hours"] * factor[group.index]).iloc[0])
        notes.append(
            f"{experiment} counts the {number(before, 3)} {unit} of its autoencoder "
            f"{autoencoder} first."
        )
    return notes
