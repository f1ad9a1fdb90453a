#!/usr/bin/env python
"""Collect an experiment's scores into two tables: all of them, and the best checkpoints.

The set of samples, the way to score and the training step are read from the path of each score.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import CollectStage
from ddpm_bench.report.tables import score_tables


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(CollectStage), required=True, help="JSON: version, experiment, dataset"
    )
    arguments.add_argument(
        "--scores", type=Path, nargs="*", default=[], help="JSON files of scores"
    )
    arguments.add_argument("--evaluation", type=Path, required=True, help="CSV of all scores")
    arguments.add_argument("--best", type=Path, required=True, help="CSV of the best checkpoints")
    given = arguments.parse_args()

    evaluation = score_tables.evaluation_table(
        given.scores, experiment=given.what.experiment, dataset=given.what.dataset
    )
    score_tables.write_table(given.evaluation, evaluation)
    score_tables.write_table(given.best, score_tables.best_scores(evaluation))


if __name__ == "__main__":
    run(main)
