#!/usr/bin/env python
"""Print what a run will train, sample and score, and for how many GPU-hours, before it does.

Snakemake says which jobs would run; seconds are those that earlier jobs took. Works while a run is
going on.
"""

import subprocess
from pathlib import Path

from ddpm_bench.cli import parser, run, snakemake_command
from ddpm_bench.config.loading import read_config
from ddpm_bench.errors import UserError
from ddpm_bench.planning.forecast import benchmark_report, forecast, pending, report


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--configfile", type=Path, default=Path("config/config.yaml"), help="the workflow's config"
    )
    given = options.parse_args()
    config = read_config(given.configfile)
    targets = ["all", "benchmark"] if config.benchmark else ["all"]
    command = snakemake_command(given.configfile, "--nolock", "--summary", *targets)
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise UserError(f"snakemake cannot plan this run; it says:\n{asked.stderr.strip()}")
    found = pending(config, asked.stdout.splitlines())
    for line in (*report(forecast(config, found), found), *benchmark_report(config, found)):
        print(line)


if __name__ == "__main__":
    run(main)
