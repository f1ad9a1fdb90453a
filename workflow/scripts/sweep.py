#!/usr/bin/env python
"""Write the table, the ranking with its uncertainty and the figures of a sweep.

The members follow from the keys of --what; their scores, losses and failures lie under --results.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import SweepStage
from ddpm_bench.report.sweeps.sweep_report import write_sweep


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--what", type=keys(SweepStage), required=True, help="keys, JSON or @file")
    options.add_argument("--results", type=Path, required=True, help="folder of all experiments")
    options.add_argument(
        "--output-dir", type=Path, required=True, help="folder of the tables and figures"
    )
    given = options.parse_args()
    write_sweep(given.what, given.results, given.output_dir)


if __name__ == "__main__":
    run(main)
