#!/usr/bin/env python
"""Print the scores of each experiment, its best checkpoint, and where figures and report lie."""

from command import config_parser, run

from ddpm_bench.config.loading import read_config
from ddpm_bench.report.terminal.run_summary import summary


def main() -> None:
    arguments = config_parser(__doc__)
    given = arguments.parse_args()

    command = f"snakemake --cores all --configfile {given.configfile}"
    for line in summary(read_config(given.configfile), command):
        print(line)


if __name__ == "__main__":
    run(main)
