#!/usr/bin/env python
"""Print what a run will train, sample and score, and for how many hours, before it does.

Snakemake lists the jobs that would run; their seconds are those of earlier jobs. Works beside a
running snakemake.
"""

from pathlib import Path

from command import config_parser, run, snakemake_summary

from ddpm_bench.config.loading import read_config
from ddpm_bench.planning.forecast import benchmark_report, forecast, pending, report
from ddpm_bench.planning.held_gpus import will_hold_gpus


def main() -> None:
    options = config_parser(__doc__)
    given = options.parse_args()
    config = read_config(given.configfile)
    targets = ["all", "benchmark"] if config.benchmark else ["all"]
    found = pending(config, snakemake_summary(given.configfile, *targets))
    on_gpus = will_hold_gpus(Path(config.results_dir))
    works = report(forecast(config, found), found, on_gpus)
    for line in (*works, *benchmark_report(config, found)):
        print(line)


if __name__ == "__main__":
    run(main)
