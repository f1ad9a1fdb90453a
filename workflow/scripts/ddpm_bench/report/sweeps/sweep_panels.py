"""Panels, titles and notes shared by the figures of a sweep."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from ddpm_bench.records.scores import Metric, feature_space_label
from ddpm_bench.report.figures import style
from ddpm_bench.report.sweeps.sweep_ranking import main_metric
from ddpm_bench.report.sweeps.sweep_table import OK
from ddpm_bench.report.tables.score_tables import SCORED, metric_label
from ddpm_bench.report.text import counts

FAILED_COLOUR = "#b03a2e"
LONGEST_REASON = 110  # characters of a reason in a figure; the table has all of it
NO_SCORES = "There are no scores: the config asks for none, or no member could be scored."


@dataclass(frozen=True)
class ScoredAlike:
    """The members of a sweep under one way to score, and its main metric."""

    rows: pd.DataFrame  # of the sweep's table, a row per member
    metric: Metric

    @property
    def measured(self) -> pd.DataFrame:
        """The members that have a value."""
        return self.rows[self.rows["best_value"].notna()]

    def title(self) -> str:
        """Return dataset, samples and feature space, so that a panel is clear by itself."""
        first = self.rows.iloc[0]
        parts = [first["dataset"], f"samples {first['samples']}"]
        return " · ".join([*parts, feature_space_label(first["feature_space"])])

    def subtitle(self) -> str:
        """Return the number of images on both sides."""
        first, measured = self.rows.iloc[0], self.measured
        generated = counts((self.rows if measured.empty else measured)["images_generated"])
        if self.metric.column == "fid" and first["fid_reference"] != first["reference"]:
            return (
                f"{generated} generated against the published statistics {first['fid_reference']}"
            )
        reference = f"{counts(self.rows['images_reference'])} reference images"
        return f"{generated} generated against {reference} ({first['reference']})"

    def label(self) -> str:
        """Return the metric with its feature space, and the better direction."""
        good = "lower" if self.metric.lower_is_better else "higher"
        named = textwrap.wrap(metric_label(self.rows.iloc[0], self.metric), 42)
        return "\n".join([*named, f"best checkpoint, {good} is better"])


def scored_alike(table: pd.DataFrame) -> Iterator[ScoredAlike]:
    """Yield the panels of a figure: one for each way to score, with its main metric.

    table: of `sweep_table`. Members of different feature spaces or references never share a panel.
    """
    for _, group in table[table["metric"] != ""].groupby(SCORED, sort=True):
        metric = main_metric(group)
        if metric is not None:
            yield ScoredAlike(group[group["metric"] == metric.column], metric)


def write_title(axes: Axes, panel: ScoredAlike) -> None:
    """Write title and subtitle above a panel."""
    style.write_title(axes, panel.title(), panel.subtitle())


def failures(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per failed member: member, status and reason."""
    failed = table[table["status"] != OK]
    return failed[["member", "status", "reason"]].drop_duplicates("member")


def failure_notes(table: pd.DataFrame, most: int = 3) -> list[str]:
    """Return notes on failed members; members with the same reason share a note."""
    failed, notes = failures(table), []
    for (status, reason), group in failed.groupby(["status", "reason"], sort=False):
        first, count = group["member"].iloc[0], len(group)
        who = first if count == 1 else f"{count} members, such as {first},"
        notes.append(f"{who} failed: {short_reason(status, reason)}")
    if len(notes) > most:
        notes = [*notes[:most], f"{len(notes) - most} more reasons are in sweep.csv."]
    return notes


def short_reason(status: str, reason: str) -> str:
    """Return status and reason without a remedy, like "out of memory: 3.2 GB were lacking"."""
    text = f"{status}: {reason.partition('; ')[0]}"
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 3]}..."
