#!/usr/bin/env python
"""Draw an experiment's scores against training steps: FID, IS, KID, precision and recall.

Scores in different feature spaces or against different references get panels of their own.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.published import ScoreFiguresStage
from ddpm_bench.records.layout import FIRST_FIGURES
from ddpm_bench.report.figures.score_figures import has_more_than_the_first, score_figures
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
    for name, figure in score_figures(evaluation, given.what.published):
        save_figure(figure, given.output_dir / name)
    if not has_more_than_the_first(evaluation):
        # Of earlier results: no target any more, and nothing would draw them anew.
        for name in FIRST_FIGURES:
            (given.output_dir / name).unlink(missing_ok=True)


if __name__ == "__main__":
    run(main)
