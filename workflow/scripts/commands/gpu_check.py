#!/usr/bin/env python
"""Check a machine with a GPU before its first run, in at most 8 minutes on one GPU.

Runs the programs of the workflow on small inputs, each part in a process of its own: the machine,
leases, resuming, precisions, compiling, sampling, scores, process groups, the strategies of the
throughput benchmark, memory, and the speed beside that of denoising-diffusion-pytorch. Needs no
network. Prints a table of what passed and failed, with what to do about each failure, and writes
the same with all numbers to a JSON file. The exit status is 0 if nothing failed, 1 if something
did, and 2 without a usable GPU.

Without a GPU, --stand-ins runs what a CPU can stand in for, on smaller inputs, and names what
that does not show.
"""

import argparse
import sys
from pathlib import Path

try:
    from command import local_path, parser, run

    from ddpm_bench.gpu_check.parts import PARTS
    from ddpm_bench.gpu_check.request import CheckRequest
    from ddpm_bench.gpu_check.runner import check_gpu, run_part
except ModuleNotFoundError as missing:  # it may run in any Python environment
    print(
        f"error: {sys.executable} has no package {missing.name}: `make gpu-check` takes the "
        f"environment of the lock; else python -m pip install {missing.name}",
        file=sys.stderr,
    )
    sys.exit(2)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    options = parser(__doc__)
    names = [part.name for part in PARTS]
    add = options.add_argument
    add("--parts", nargs="+", choices=names, metavar="PART", help=f"only these: {', '.join(names)}")
    add("--minutes", type=float, default=8.0, help="no part starts or goes on after so many")
    add("--stand-ins", action="store_true", help="check what a CPU can stand in for")
    add(
        "--output",
        type=local_path,
        help="JSON file to write; without it reports/gpu-check-<GPU>-<time>.json",
    )
    add("--keep", type=local_path, metavar="FOLDER", help="keep logs and files in this new folder")
    add("--run-part", help=argparse.SUPPRESS)  # of the processes that this program starts
    add("--setting", help=argparse.SUPPRESS)
    add("--checks", type=Path, help=argparse.SUPPRESS)
    return options.parse_args()


def main() -> int:
    given = arguments()
    if given.run_part is not None:
        return run_part(given.run_part, given.setting, given.checks)
    return check_gpu(
        CheckRequest(
            program=Path(__file__),
            parts=tuple(given.parts or ()),
            minutes=given.minutes,
            stand_ins=given.stand_ins,
            output=given.output,
            keep=given.keep,
        )
    )


if __name__ == "__main__":
    run(main)
