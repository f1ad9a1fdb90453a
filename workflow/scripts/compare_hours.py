#!/usr/bin/env python
"""Draw the scores of all experiments against GPU-hours of training, and write a table of the hours.

Times are those of progress.jsonl, over all attempts.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import HoursStage
from ddpm_bench.machine.gpu_listing import present_devices
from ddpm_bench.report.figures.hours_figures import hours_figures
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.report.tables.score_tables import EVALUATION_COLUMNS, join_tables, write_table
from ddpm_bench.report.tables.training_hours import training_hours


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(HoursStage), required=True, help="JSON: version, experiments, published"
    )
    arguments.add_argument(
        "--evaluations", type=Path, nargs="+", required=True, help="CSVs of all scores"
    )
    arguments.add_argument(
        "--results", type=Path, required=True, help="folder of results, with progress.jsonl of each"
    )
    arguments.add_argument(
        "--output-dir", type=Path, required=True, help="folder of the table and figures"
    )
    given = arguments.parse_args()

    evaluation = join_tables(given.evaluations, EVALUATION_COLUMNS)
    has_gpus = bool(present_devices())
    hours = training_hours(given.results, evaluation, given.what.experiments, has_gpus)
    write_table(given.output_dir / "training_hours.csv", hours)
    for name, figure in hours_figures(evaluation, hours, given.what.published):
        save_figure(figure, given.output_dir / name)


if __name__ == "__main__":
    run(main)
