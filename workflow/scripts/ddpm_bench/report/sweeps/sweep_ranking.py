"""The ranking of a sweep's settings, and its uncertainty from replicates over seeds."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ddpm_bench.config.reporting import SweepStage
from ddpm_bench.records.scores import METRICS, Metric
from ddpm_bench.report.sweeps.comparisons_with_best import chances_of_the_best
from ddpm_bench.report.sweeps.sweep_table import setting_keys
from ddpm_bench.report.tables.score_tables import SCORED, ordered_metrics

CONFIDENCE, SIGNIFICANCE = 0.95, 0.05
METHOD = (
    "best checkpoint of each seed; interval: Student's t, 95%, over seeds, of each setting by "
    "itself: that of the best is of a selected one, with too good a mean; compared with the best: "
    "Hsu's multiple comparisons with the best, 5%, one variance for all settings"
)
BEST, TIED, WITHIN, WORSE = "best", "tied for the best", "within noise", "worse"
UNKNOWN = "not known: fewer than two seeds"
RANKED = [
    *("rank", "seeds", "failed", "mean", "std", "standard_error", "ci95_low", "ci95_high"),
    *("selected_of", "difference_to_best", "p_value", "compared_with_best", "reason", "method"),
]


def ranking_columns(stage: SweepStage) -> list[str]:
    """Return the columns of `ranking`."""
    return ["sweep", *SCORED, "metric", *setting_keys(stage), *RANKED]


def ranking(stage: SweepStage, table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per way to score, metric and setting, the best setting first.

    table: of `sweep_table`. The main metric of each way to score comes first: KID if FID's
    reference is small.
    """
    rows: list[dict[str, Any]] = []
    for scored, group in table[table["metric"] != ""].groupby(SCORED, sort=True):
        about = {"sweep": stage.sweep, **dict(zip(SCORED, scored, strict=True))}
        for metric in ordered_metrics(group):
            of_metric = group[group["metric"] == metric.column]
            for row in ranked(of_metric, metric, setting_keys(stage)):
                rows.append({**about, "metric": metric.column, **row, "method": METHOD})
    found = pd.DataFrame(rows, columns=ranking_columns(stage))
    return found.astype(dict.fromkeys(["rank", "seeds", "failed", "selected_of"], "Int64"))


def ranked(rows: pd.DataFrame, metric: Metric, keys: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the settings by the mean of their seeds; settings without any value come last.

    Settings of equal means have the same rank. rows: of one metric, a row per member.
    """
    settings = []
    groups = rows.groupby(keys, sort=False) if keys else [((), rows)]
    for values, group in groups:
        found = group["best_value"].dropna().to_numpy(float)
        settings.append((dict(zip(keys, values, strict=True)), found, group))
    sign = 1 if metric.lower_is_better else -1
    measured = sorted(
        (one for one in settings if len(one[1])), key=lambda one: sign * one[1].mean()
    )
    means = [found.mean() for _, found, _ in measured]
    chances = chances_of_the_best([found for _, found, _ in measured], metric.lower_is_better)
    for (values, found, group), chance in zip(measured, chances, strict=True):
        yield {
            **values,
            "rank": means.index(found.mean()) + 1,
            **spread(found),
            **against_best(found.mean(), means, chance),
            **_failures(group),
        }
    for values, found, group in settings:
        if not len(found):
            yield {**values, "rank": pd.NA, "seeds": 0, **_failures(group)}


def spread(values: np.ndarray) -> dict[str, Any]:
    """Return mean, standard deviation, standard error and 95% interval of the mean of [n]."""
    count, mean = len(values), float(values.mean())
    found = {"seeds": count, "mean": mean}
    if count < 2:
        return found
    std = float(values.std(ddof=1))
    error = std / count**0.5
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return {
        **found,
        "std": std,
        "standard_error": error,
        "ci95_low": mean - half,
        "ci95_high": mean + half,
    }


def against_best(mean: float, means: list[float], chance: float | None) -> dict[str, Any]:
    """Return the difference of a setting from the best one, and the verdict on it.

    means: of all settings, the best first; chance: of `chances_of_the_best`. `selected_of` of the
    best is the number of settings that it is selected from.
    """
    found: dict[str, Any] = {"difference_to_best": float(mean - means[0])}
    if mean == means[0]:
        verdict = BEST if means.count(mean) == 1 else TIED
        return {**found, "compared_with_best": verdict, "selected_of": len(means)}
    if chance is None:
        return {**found, "compared_with_best": UNKNOWN}
    differs = chance < SIGNIFICANCE
    return {**found, "p_value": chance, "compared_with_best": WORSE if differs else WITHIN}


def _failures(group: pd.DataFrame) -> dict[str, Any]:
    without = group[group["best_value"].isna()]
    reasons = without["status"] + ": " + without["reason"]
    return {"failed": len(without), "reason": "; ".join(reasons.unique())}


def main_metric(rows: pd.DataFrame) -> Metric | None:
    """Return the metric that is read first for one way to score; None if nothing is scored."""
    named = rows[rows["metric"].isin(list(METRICS))]
    return None if named.empty else ordered_metrics(named)[0]
