#!/usr/bin/env python
"""Draw the training losses of several experiments on one axis, wherever they are comparable."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import LossesStage
from ddpm_bench.report.figures.loss_comparison import loss_comparison
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.report.tables.losses import read_losses


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(LossesStage), required=True, help="JSON: version, groups"
    )
    arguments.add_argument(
        "--results", type=Path, required=True, help="folder of results, with metrics.csv of each"
    )
    arguments.add_argument("--output", type=Path, required=True, help="PNG to write")
    given = arguments.parse_args()

    names = [name for group in given.what.groups for name in group.experiments]
    losses = {name: read_losses(given.results / name / "metrics.csv") for name in names}
    title = "Training losses side by side"
    save_figure(loss_comparison(given.what.groups, losses, title), given.output)


if __name__ == "__main__":
    run(main)
