#!/usr/bin/env python
"""Join the tables of all experiments, and draw their scores together against training steps.

Scores of different datasets, feature spaces or references get panels of their own.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.published import CompareStage
from ddpm_bench.report.figures.published_lines import with_published
from ddpm_bench.report.figures.score_figures import comparison_figures
from ddpm_bench.report.figures.style import empty_figure, save_figure
from ddpm_bench.report.tables.score_tables import (
    BEST_COLUMNS,
    EVALUATION_COLUMNS,
    join_tables,
    write_table,
)

ONLY_SWEEPS = "All experiments are members of sweeps, which have figures of their own (Sweeps)."


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(CompareStage), required=True, help="JSON: version, published, drawn"
    )
    arguments.add_argument(
        "--evaluations", type=Path, nargs="+", required=True, help="CSVs of all scores"
    )
    arguments.add_argument(
        "--bests", type=Path, nargs="+", required=True, help="CSVs of the best checkpoints"
    )
    arguments.add_argument(
        "--output-dir", type=Path, required=True, help="folder of the tables and figures"
    )
    given = arguments.parse_args()

    evaluation = join_tables(given.evaluations, EVALUATION_COLUMNS)
    write_table(given.output_dir / "all_scores.csv", evaluation)
    best = with_published(join_tables(given.bests, BEST_COLUMNS), given.what.published)
    write_table(given.output_dir / "best_scores.csv", best)
    drawn = given.what.drawn
    if drawn is not None:
        evaluation = evaluation[evaluation["experiment"].isin(drawn)]
    for name, figure in comparison_figures(evaluation, given.what.published):
        if drawn == ():
            figure = empty_figure(name.removesuffix(".png").replace("_", " "), ONLY_SWEEPS)
        save_figure(figure, given.output_dir / name)


if __name__ == "__main__":
    run(main)
