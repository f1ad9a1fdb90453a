"""Writing of a sweep's tables and figures."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ddpm_bench.config.reporting import SweepStage
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.report.sweeps.main_effects import main_effects_figure
from ddpm_bench.report.sweeps.parallel_coordinates import parallel_coordinates_figure
from ddpm_bench.report.sweeps.ranking_figure import ranking_figure
from ddpm_bench.report.sweeps.sweep_curves import loss_curves_figure, score_curves_figure
from ddpm_bench.report.sweeps.sweep_ranking import ranking
from ddpm_bench.report.sweeps.sweep_table import evaluations, sweep_table
from ddpm_bench.report.tables.score_tables import write_table


def write_sweep(
    stage: SweepStage, results: Path, folder: Path, evaluation: pd.DataFrame | None = None
) -> list[Path]:
    """Write all tables and figures of a sweep into a folder; return the files.

    evaluation: the scores of its members so far; None to read them from their tables in `results`.
    """
    if evaluation is None:
        evaluation = evaluations(stage, results)
    table = sweep_table(stage, results, evaluation)
    write_table(folder / "sweep.csv", table)
    write_table(folder / "ranking.csv", ranking(stage, table))
    written = [folder / "sweep.csv", folder / "ranking.csv"]
    for name, figure in sweep_figures(stage, table, evaluation, results):
        save_figure(figure, folder / name)
        written.append(folder / name)
    return written


def sweep_figures(
    stage: SweepStage, table: pd.DataFrame, evaluation: pd.DataFrame, results: Path
) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of a sweep with file names; table: of `sweep_table`, evaluation: of
    `evaluations`."""
    yield "Ranking.png", ranking_figure(stage, table)
    yield "MainEffects.png", main_effects_figure(stage, table)
    yield "ParallelCoordinates.png", parallel_coordinates_figure(stage, table)
    yield "ScoreCurves.png", score_curves_figure(stage, table, evaluation)
    yield "LossCurves.png", loss_curves_figure(stage, table, results)
