#!/usr/bin/env python
"""Draw the generated images closest to training images, and the distances of all of them."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import PlotStage
from ddpm_bench.records.failures import failure_of_samples
from ddpm_bench.records.nearest import read_nearest
from ddpm_bench.report.figures.closest_pairs import closest_figure, closest_pairs, closest_title
from ddpm_bench.report.figures.sample_pictures import write_failure_picture
from ddpm_bench.report.figures.style import save_figure


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--what", type=keys(PlotStage), required=True, help="JSON: version")
    arguments.add_argument(
        "--nearest", type=Path, required=True, help="distances to training images, .npz of a score"
    )
    arguments.add_argument(
        "--samples", type=Path, nargs="+", required=True, help="files of samples, in their order"
    )
    arguments.add_argument("--train", type=Path, required=True, help="prepared training images")
    arguments.add_argument("--feature-space", required=True, help="feature space of the distances")
    arguments.add_argument("--output", type=Path, required=True, help="PNG to write")
    given = arguments.parse_args()

    failed = failure_of_samples(given.samples)
    if failed is not None:
        write_failure_picture(given.output, closest_title(given.nearest), failed)
        return
    distances = read_nearest(given.nearest)
    pairs = closest_pairs(distances, given.samples, given.train)
    title = closest_title(given.nearest)
    save_figure(closest_figure(distances, pairs, given.feature_space, title), given.output)


if __name__ == "__main__":
    run(main)
