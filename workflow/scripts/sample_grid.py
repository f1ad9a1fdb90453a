#!/usr/bin/env python
"""Show the first samples of a checkpoint as one picture."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import GridStage
from ddpm_bench.files import replacing
from ddpm_bench.records.failures import failure_of_samples
from ddpm_bench.report.figures.sample_pictures import sample_grid, write_failure_picture


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

    failed = failure_of_samples(given.samples)
    if failed is not None:
        *_, experiment, _, samples, step, _ = given.output.absolute().parts
        write_failure_picture(given.output, f"{experiment}: samples {samples}, {step}", failed)
        return
    picture = sample_grid(given.samples, given.what.images)
    with replacing(given.output) as temporary:
        picture.save(temporary)


if __name__ == "__main__":
    run(main)
