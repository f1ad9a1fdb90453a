#!/usr/bin/env python
"""Measure one cell of the throughput benchmark: the speed of one model, trained in one way on one
machine.

Starts the processes of the cell, on several nodes through srun, and writes a record of the
measurement, or of the reason why there is none: out of memory, unsupported, crashed, timed out. The
exit status is 0 in all these cases; only invalid arguments or a signal to stop end the program
without a record.
"""

from argparse import Namespace
from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.benchmark import CellRun, CellStage
from ddpm_bench.throughput.cell_job import run_cell_job


def arguments() -> Namespace:
    """Parse the command line."""
    options = parser(__doc__)
    options.add_argument("--what", type=keys(CellStage), required=True, help="keys, JSON or @file")
    options.add_argument("--how", type=keys(CellRun), default="{}", help="the run: block, JSON")
    options.add_argument(
        "--images", type=Path, nargs="?", help="train.npy of a prepared dataset; else random images"
    )
    options.add_argument("--output", type=Path, required=True, help="the cell's record, JSON")
    return options.parse_args()


def main() -> int:
    """Measure the cell that the command line names."""
    return run_cell_job(arguments())


if __name__ == "__main__":
    run(main)
