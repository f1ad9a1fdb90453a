#!/usr/bin/env python
"""Stop a workflow: save trainings, cancel its SLURM jobs and no others, and unlock the folder.

Ends the snakemake of this config that runs on this machine, and cancels its jobs. The next run goes
on from what is saved; the last line printed is the command for that. Run this in the folder that
snakemake runs in.
"""

from pathlib import Path

from command import config_parser, run

from ddpm_bench.runs.stopping import stop


def main() -> None:
    options = config_parser(__doc__)
    options.add_argument(
        "--wait",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="within which trainings save and leave; after that they are cancelled as all others",
    )
    options.add_argument(
        "--main-ended",
        action="store_true",
        help="a snakemake that was started on another machine is gone for sure",
    )
    given = options.parse_args()
    for line in stop(given.configfile, Path.cwd(), given.wait, given.main_ended):
        print(line, flush=True)


if __name__ == "__main__":
    run(main)
