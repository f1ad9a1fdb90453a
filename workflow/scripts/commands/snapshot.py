#!/usr/bin/env python
"""Draw the tables and figures of what is scored so far, while the rest of the workflow runs.

Reads what lies on disk and takes no lock, so it works beside a running snakemake.
"""

from pathlib import Path

from command import config_parser, local_path, run

from ddpm_bench.config.loading import read_config
from ddpm_bench.report.snapshot import snapshot


def main() -> None:
    arguments = config_parser(__doc__)
    arguments.add_argument(
        "--output-dir", type=local_path, help="folder to write to; without it, results_dir/snapshot"
    )
    given = arguments.parse_args()

    config = read_config(given.configfile)
    folder = given.output_dir or Path(config.results_dir, "snapshot")
    command = f"snakemake --cores all --configfile {given.configfile}"
    for line in snapshot(config, folder, command):
        print(line, flush=True)


if __name__ == "__main__":
    run(main)
