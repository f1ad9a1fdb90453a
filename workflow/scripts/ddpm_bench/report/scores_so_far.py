"""The scores of an experiment that are done so far, and those that are missing."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ddpm_bench.config.experiment import Config
from ddpm_bench.errors import UserError
from ddpm_bench.planning import jobs
from ddpm_bench.planning.current_results import CurrentResults
from ddpm_bench.records.layout import STEP_DIGITS
from ddpm_bench.report.tables.score_tables import best_scores, score_row, table_of
from ddpm_bench.report.terminal.score_text import best_table


@dataclass(frozen=True)
class ScoresSoFar:
    """The scores of an experiment that the config asks for, and those on disk."""

    expected: list[Path]
    evaluation: pd.DataFrame
    missing: list[Path]
    unreadable: list[str]  # the error of each score that cannot be read
    stale: int  # of the missing ones: on disk, and of other settings or inputs
    not_asked_for: int  # scores on disk of sets, steps or scores that the config no longer has


def scores_so_far(config: Config, experiment: str) -> ScoresSoFar:
    """Read every score of an experiment on disk that a run of the config would not make anew."""
    expected = [Path(path) for path in jobs.score_files(config, experiment)]
    found = scores_on_disk(Path(config.results_dir, experiment))
    current = CurrentResults(config)
    stale = {path for path in found.intersection(expected) if not current.are_current(str(path))}
    done = found.intersection(expected) - stale
    dataset = config.experiments[experiment].dataset
    rows, unreadable = [], []
    for path in done:
        try:
            rows.append(score_row(path, experiment=experiment, dataset=dataset))
        except UserError as error:
            unreadable.append(str(error))
    return ScoresSoFar(
        expected=expected,
        evaluation=table_of(rows),
        missing=[path for path in expected if path not in done],
        unreadable=sorted(unreadable),
        stale=len(stale),
        not_asked_for=len(found.difference(expected)),
    )


def scores_on_disk(folder: Path) -> set[Path]:
    """Return the file of every finished score of an experiment, without temporary files."""
    return {
        path
        for path in folder.glob("scores/*/*/*.json")
        if re.fullmatch(rf"step-\d{{{STEP_DIGITS}}}\.json", path.name)
    }


def all_scores(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the evaluation tables of all experiments, concatenated."""
    scored = [table for table in tables if not table.empty]
    return pd.concat(scored, ignore_index=True) if scored else table_of([])


def describe(experiment: str, so_far: ScoresSoFar, command: str) -> Iterator[str]:
    """Yield the number of scores of an experiment, the best ones, and the missing ones."""
    count, total = len(so_far.evaluation), len(so_far.expected)
    if total == 0:
        yield f"{experiment}: the config asks for no scores (it has no `samples` or no `scores`)"
    elif count == 0:
        yield f"{experiment}: none of {total} scores yet; to make them: {command}"
    else:
        yield f"{experiment}: {count} of {total} scores"
        yield best_table(best_scores(so_far.evaluation))
    if count:
        yield from (f"  missing: {text}" for text in missing_texts(so_far.missing))
    yield from (f"  left out: {text}" for text in so_far.unreadable)
    if so_far.stale:
        yield f"  left out: {so_far.stale} on disk of other settings or inputs"
    if so_far.not_asked_for:
        yield f"  left out: {so_far.not_asked_for} on disk that this config does not ask for"


def missing_texts(missing: list[Path]) -> Iterator[str]:
    """Yield the missing scores by set and way to score, in the order of the config."""
    for folder, paths in itertools.groupby(missing, key=lambda path: path.parent):
        steps = [int(path.stem.removeprefix("step-")) for path in paths]
        listed = ", ".join(f"{step:,}" for step in steps[:6]) + (", ..." if len(steps) > 6 else "")
        plural = "s" if len(steps) > 1 else ""
        yield f"samples {folder.name}, score {folder.parent.name}: step{plural} {listed}"
