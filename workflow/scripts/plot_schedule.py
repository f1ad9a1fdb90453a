#!/usr/bin/env python
"""Draw the noise schedule of an experiment and the weights of its loss against timesteps."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import ScheduleStage


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(ScheduleStage), required=True, help="keys, JSON or @file"
    )
    arguments.add_argument("--experiment", required=True, help="its name, for the title")
    arguments.add_argument("--output", type=Path, required=True, help="PNG to write")
    given = arguments.parse_args()

    # torch takes seconds to import, which a wrong argument need not wait for.
    from ddpm_bench.report.figures.schedule_figure import schedule_figure
    from ddpm_bench.report.figures.style import save_figure

    title = f"{given.experiment}: noise schedule"
    stage = given.what
    save_figure(schedule_figure(stage.diffusion, stage.min_snr_gamma, title), given.output)


if __name__ == "__main__":
    run(main)
