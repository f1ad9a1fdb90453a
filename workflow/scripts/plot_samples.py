#!/usr/bin/env python
"""Draw the samples of all checkpoints from the same noise: side by side, and as an animation."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import PlotStage
from ddpm_bench.report.figures.animations import save_animation, training_frames
from ddpm_bench.report.figures.sample_pictures import (
    samples_over_training,
    with_images,
    write_failure_picture,
)
from ddpm_bench.report.figures.style import save_figure


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--what", type=keys(PlotStage), required=True, help="JSON: version")
    arguments.add_argument(
        "--steps", type=int, nargs="+", required=True, help="training step of each checkpoint"
    )
    arguments.add_argument(
        "--samples", type=Path, nargs="+", required=True,
        help="first file of samples of each checkpoint, in the order of --steps",
    )  # fmt: skip
    arguments.add_argument("--output", type=Path, required=True, help="PNG to write")
    arguments.add_argument("--animation", type=Path, required=True, help="GIF to write")
    given = arguments.parse_args()

    *_, experiment, _, samples, _, _ = given.samples[0].absolute().parts
    title = f"{experiment}: samples {samples}"
    steps, files, failed = with_images(given.steps, given.samples)
    if failed is not None and not files:
        for path in (given.output, given.animation):
            write_failure_picture(path, title, failed)
        return
    save_figure(samples_over_training(steps, files, title), given.output)
    save_animation(training_frames(steps, files, title), given.animation)


if __name__ == "__main__":
    run(main)
