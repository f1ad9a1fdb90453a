#!/usr/bin/env python
"""Draw FID and IS of an experiment's first 25 checkpoints, whose fall later ones hide."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.published import ScoreFiguresStage
from ddpm_bench.report.figures.score_figures import first_figures
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.report.tables.score_tables import EVALUATION_COLUMNS, read_table


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(ScoreFiguresStage), required=True, help="JSON: version, published"
    )
    arguments.add_argument("--evaluation", type=Path, required=True, help="CSV of all scores")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the figures")
    given = arguments.parse_args()

    evaluation = read_table(given.evaluation, EVALUATION_COLUMNS)
    for name, figure in first_figures(evaluation, given.what.published):
        save_figure(figure, given.output_dir / name)


if __name__ == "__main__":
    run(main)
