#!/usr/bin/env python
"""Draw the losses of a training against its steps."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import PlotStage
from ddpm_bench.report.figures.loss_figure import loss_figure
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.report.tables.losses import read_losses
from ddpm_bench.report.tables.score_tables import VALIDATION_COLUMNS, join_tables


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--what", type=keys(PlotStage), required=True, help="JSON: version")
    arguments.add_argument(
        "--metrics", type=Path, required=True, help="metrics.csv of the training"
    )
    arguments.add_argument(
        "--validations", type=Path, nargs="*", default=[], help="validation losses, CSV, if any"
    )
    arguments.add_argument("--output", type=Path, required=True, help="PNG to write")
    given = arguments.parse_args()

    title = f"{given.metrics.absolute().parent.name}: loss"
    validation = join_tables(given.validations, VALIDATION_COLUMNS)
    save_figure(loss_figure(read_losses(given.metrics), title, validation), given.output)


if __name__ == "__main__":
    run(main)
