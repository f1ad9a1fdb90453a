#!/usr/bin/env python
"""Compare the samplers of an experiment at one checkpoint: quality against seconds per image.

A second table has the number of steps that each sampler needs to come within 5% of its best.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import SamplersStage
from ddpm_bench.records.failures import read_failed
from ddpm_bench.report.figures.sampler_figure import write_sampler_comparison
from ddpm_bench.report.tables.score_tables import EVALUATION_COLUMNS, read_table


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(SamplersStage), required=True, help="JSON: version, sets"
    )
    arguments.add_argument("--evaluation", type=Path, required=True, help="CSV of all scores")
    arguments.add_argument(
        "--timings", type=Path, nargs="+", required=True,
        help="timings of the sets to compare: images-*.json of their samples",
    )  # fmt: skip
    arguments.add_argument(
        "--step", type=int, required=True, help="training step of the checkpoint"
    )
    arguments.add_argument(
        "--output-dir", type=Path, required=True, help="folder of the figure and the tables"
    )
    given = arguments.parse_args()

    evaluation = read_table(given.evaluation, EVALUATION_COLUMNS)
    # The time of a set that could not be drawn means nothing.
    drawn = [path for path in given.timings if read_failed(path) is None]
    write_sampler_comparison(evaluation, drawn, given.what.sets, given.step, given.output_dir)


if __name__ == "__main__":
    run(main)
