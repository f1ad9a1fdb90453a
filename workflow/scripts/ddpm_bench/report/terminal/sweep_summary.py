"""The terminal summary of a finished sweep: its best settings, and its failed members."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning import jobs
from ddpm_bench.planning.retries import failure_of
from ddpm_bench.records.checksums import check_file
from ddpm_bench.records.scores import METRICS
from ddpm_bench.report.tables.score_tables import SCORED, metric_label

MOST_SETTINGS = 5  # of a way to score


def sweep_summary(config: Config, sweep: str, command: str) -> Iterator[str]:
    """Yield lines for each way to score, for failed members, and for the folder of figures.

    command: the command to run for missing results.
    """
    names = jobs.members(config, sweep)
    folder = Path(config.results_dir, "report", "sweeps", sweep)
    yield f"{sweep}: sweep of {len(names)} members"
    if not (folder / "ranking.csv").exists():
        yield f"  not collected yet; to make it: {command} (make snapshot shows partial results)"
        return
    check_file(folder / "ranking.csv")
    ranking = pd.read_csv(folder / "ranking.csv", keep_default_na=False, dtype=str)
    for _, group in ranking.groupby(SCORED, sort=False):
        yield from best_settings(group[group["metric"] == group["metric"].iloc[0]], config, sweep)
    failed = {name: failure_of(config, name) for name in names}
    for name, failure in failed.items():
        if failure is not None:
            yield f"  {name} failed: {failure.in_words()}"
    yield f"figures: {folder}"


def best_settings(rows: pd.DataFrame, config: Config, sweep: str) -> Iterator[str]:
    """Yield the first settings by the main metric; rows: of ranking.csv, of one metric."""
    first, metric = rows.iloc[0], METRICS[rows["metric"].iloc[0]]
    yield f"  by {metric_label(first, metric)}, samples {first['samples']}:"
    paths = [path for path in sorted(config.sweeps[sweep].sweep.keys) if path in rows.columns]
    measured = rows[rows["rank"] != ""]
    for _, row in measured.head(MOST_SETTINGS).iterrows():
        setting = ", ".join(f"{path} {row[path]}" for path in paths) or "all seeds"
        spread = f" ± {float(row['std']):.{metric.decimals}f}" if row["std"] else ""
        value = f"{float(row['mean']):.{metric.decimals}f}{spread}"
        seeds = f", {row['seeds']} seeds" if row["seeds"] != "1" else ""
        selected = f", selected of {row['selected_of']}" if row.get("selected_of") else ""
        comparison = "" if row["seeds"] == "1" else f" ({row['compared_with_best']}{selected})"
        yield f"    {row['rank']}. {setting}: {metric.name} {value}{seeds}{comparison}"
    if len(measured) > MOST_SETTINGS:
        yield f"    and {len(measured) - MOST_SETTINGS} more"
