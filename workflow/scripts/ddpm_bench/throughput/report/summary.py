"""Results of the throughput benchmark as text for a terminal."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning.benchmark_cells import cells
from ddpm_bench.report.terminal.score_text import aligned
from ddpm_bench.throughput.report.tables import (
    CELL,
    HARDWARE,
    SUMMARY_COLUMNS,
    read_throughput,
    world,
)

REASONS_SHOWN = 5  # of each status


def throughput_summary(config: Config, command: str) -> Iterator[str]:
    """Yield lines about each model and hardware, about cells that are not ok, and the paths of the
    files.

    command: the command that measures the cells that are missing.
    """
    folder = Path(config.results_dir, "benchmark")
    if config.benchmark is None:
        yield "the config has no `benchmark:`, so there is nothing to measure"
        return
    if not (folder / "summary.csv").exists():
        yield f"not measured yet; to do it: {command}"
        return
    found = read_throughput(folder / "summary.csv", SUMMARY_COLUMNS)
    ok = found[found["status"] == "ok"]
    for _, rows in ok.groupby(["model", *HARDWARE], sort=False):
        yield from model_lines(rows)
        yield ""
    if len(ok) < len(found):
        yield from failure_lines(found[found["status"] != "ok"])
        yield ""
    yield from missing_lines(config, found, command)
    yield f"tables:  {folder / 'summary.csv'}, each repetition: {folder / 'throughput.csv'}"
    yield f"figures: {folder}"
    yield f"to measure a cell again: delete its file in {folder / 'cells'}, then {command}"


def model_lines(rows: pd.DataFrame) -> Iterator[str]:
    """Yield the table of one model on one kind of hardware, the fastest of each setting starred."""
    first = rows.iloc[0]
    cores = f"{first['cpus']} core{'s' if first['cpus'] > 1 else ''}"
    yield f"{first['model']} on {first['device']}, {cores} per process"
    several_nodes = (rows["nodes"] > 1).any()
    lines = [
        [
            *("strategy", "precision", "batch", "processes", *(["nodes"] if several_nodes else [])),
            *(f"{first['sample']}s/s ", "±", "ms/step", "weak", "strong"),
            *("peak MB", "sent MB", "comm."),
        ]
    ]
    for (_, cell), processes in zip(rows.iterrows(), world(rows), strict=True):
        low, high = cell["samples_per_second_lowest"], cell["samples_per_second_highest"]
        lines.append(
            [
                *(cell["strategy"], cell["precision"], f"{cell['batch_size']:,}"),
                *(str(processes), *([str(cell["nodes"])] if several_nodes else [])),
                number_text(cell["samples_per_second"]) + ("*" if cell["fastest"] else " "),
                f"{(high - low) / 2 / cell['samples_per_second']:.1%}"
                if cell["repetitions"] > 1
                else "-",
                number_text(cell["step_ms_median"]),
                *(share_text(cell[name]) for name in ("weak_efficiency", "strong_efficiency")),
                f"{cell['peak_memory_mb']:,.0f}",
                number_text(cell["sent_mb_per_step"]) if processes > 1 else "-",
                percent_text(cell["communication_share"]) if processes > 1 else "-",
            ]
        )
    yield from aligned(lines, names=2, gap=2)
    if rows["fastest"].any():
        yield "  * the fastest of its setting; ± half of the span of several repetitions"


def number_text(value: float) -> str:
    """Return three significant digits, or all digits before the point: 35.0, 2,416."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def share_text(value: float) -> str:
    """Return an efficiency with two decimals; "-" where there is none."""
    return "-" if pd.isna(value) else f"{value:.2f}"


def percent_text(value: float) -> str:
    """Return a share as a percentage such as 12.3%; "-" where it is not known."""
    return "-" if pd.isna(value) else f"{value:.1%}"


def failure_lines(failed: pd.DataFrame) -> Iterator[str]:
    """Yield counts of cells that are not ok by status and reason, the most frequent first."""
    for status, rows in failed.groupby("status", sort=False):
        yield f"{status}: {count_text(len(rows))}"
        reasons = rows["reason"].value_counts(sort=True)
        for reason in reasons.index[:REASONS_SHOWN]:
            own = rows[rows["reason"] == reason]
            strategies, models = (", ".join(own[name].unique()) for name in ("strategy", "model"))
            yield f"  {len(own)}: {reason or 'no reason is known'} ({strategies} of {models})"
        if len(reasons) > REASONS_SHOWN:
            left = int(reasons.iloc[REASONS_SHOWN:].sum())
            yield f"  {left}: other reasons, in summary.csv"


def missing_lines(config: Config, found: pd.DataFrame, command: str) -> Iterator[str]:
    """Yield the number of cells of the config that the table lacks, if it lacks some."""
    measured = set(found[CELL].itertuples(index=False, name=None))
    wanted = [tuple(cell.model_dump().values()) for cell in cells(config.benchmark)]
    missing = sum(cell not in measured for cell in wanted)
    if missing:
        yield f"not in the table yet: {count_text(missing)}; to measure: {command}"


def count_text(count: int) -> str:
    """Return a text such as "1 cell" or "1,200 cells"."""
    return f"{count:,} cell{'s' if count != 1 else ''}"
