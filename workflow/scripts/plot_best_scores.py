#!/usr/bin/env python
"""Draw the best scores of all experiments as a table, one block per group of comparable scores."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.published import ScoreFiguresStage
from ddpm_bench.report.figures.best_scores_figure import best_figure
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.report.tables.score_tables import BEST_COLUMNS, join_tables


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(ScoreFiguresStage), required=True, help="JSON: version, published"
    )
    arguments.add_argument(
        "--bests", type=Path, nargs="+", required=True, help="CSVs of the best checkpoints"
    )
    arguments.add_argument("--output", type=Path, required=True, help="PNG to write")
    given = arguments.parse_args()

    best = join_tables(given.bests, BEST_COLUMNS)
    save_figure(best_figure(best, given.what.published, "Best scores"), given.output)


if __name__ == "__main__":
    run(main)
