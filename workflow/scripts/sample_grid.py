#!/usr/bin/env python
"""Show the first samples of a checkpoint as one picture."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import GridStage


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(GridStage), required=True, help="JSON: version, images"
    )
    arguments.add_argument(
        "--samples", type=Path, nargs="+", required=True, help="files of samples, in their order"
    )
    arguments.add_argument("--output", type=Path, required=True, help="PNG to write")
    given = arguments.parse_args()

    from ddpm_bench.report.figures.sample_pictures import write_sample_grid

    write_sample_grid(given.samples, given.what.images, given.output)


if __name__ == "__main__":
    run(main)
