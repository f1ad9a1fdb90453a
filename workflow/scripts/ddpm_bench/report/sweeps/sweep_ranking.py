"""The ranking of a sweep's settings, and its uncertainty from replicates over seeds."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ddpm_bench.config.reporting import SweepStage
from ddpm_bench.records.scores import METRICS, Metric
from ddpm_bench.report.sweeps.sweep_table import setting_keys
from ddpm_bench.report.tables.score_tables import SCORED, ordered_metrics

CONFIDENCE, SIGNIFICANCE = 0.95, 0.05
METHOD = (
    "best checkpoint of each seed; interval: Student's t, 95%, over seeds; compared with the best: "
    "Welch's t-test, two-sided, 5%, not corrected for many settings"
)
BEST, WITHIN, WORSE = "best", "within noise", "worse"
UNKNOWN = "not known: fewer than two seeds"
RANKED = [
    *("rank", "seeds", "failed", "mean", "std", "standard_error", "ci95_low", "ci95_high"),
    *("difference_to_best", "p_value", "compared_with_best", "reason", "method"),
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
    return found.astype({"rank": "Int64", "seeds": "Int64", "failed": "Int64"})


def ranked(rows: pd.DataFrame, metric: Metric, keys: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the settings by the mean of their seeds; settings without any value come last.

    rows: of one metric, a row per member.
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
    for rank, (values, found, group) in enumerate(measured, start=1):
        yield {
            **values,
            "rank": rank,
            **spread(found),
            **against_best(found, measured[0][1], rank == 1),
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


def against_best(values: np.ndarray, best: np.ndarray, is_best: bool) -> dict[str, Any]:
    """Return the difference from the best setting, and the verdict of Welch's t-test on it."""
    found: dict[str, Any] = {"difference_to_best": float(values.mean() - best.mean())}
    if is_best:
        return {**found, "compared_with_best": BEST}
    if min(len(values), len(best)) < 2:
        return {**found, "compared_with_best": UNKNOWN}
    if values.std() == best.std() == 0:  # without noise, by which the test divides
        chance = float(values[0] == best[0])
    else:
        chance = float(stats.ttest_ind(values, best, equal_var=False).pvalue)
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
