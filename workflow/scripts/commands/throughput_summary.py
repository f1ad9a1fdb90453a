#!/usr/bin/env python
"""Print what the throughput benchmark has measured, why cells are missing, and where the files are.

Only cells of one kind of device with as many cores are held against each other.
"""

from command import config_parser, run

from ddpm_bench.config.loading import read_config
from ddpm_bench.throughput.report.summary import throughput_summary


def main() -> None:
    arguments = config_parser(__doc__)
    given = arguments.parse_args()

    command = f"snakemake benchmark --cores all --configfile {given.configfile}"
    for line in throughput_summary(read_config(given.configfile), command):
        print(line)


if __name__ == "__main__":
    run(main)
