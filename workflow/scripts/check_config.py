#!/usr/bin/env python
"""Check a config file: every wrong key at once, with its value and what is allowed.

Snakemake does the same when it starts; this names the line, too, of a file that is no YAML.
"""

from pathlib import Path

from ddpm_bench.cli import parser, run
from ddpm_bench.config.loading import read_config


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--configfile", type=Path, default=Path("config/config.yaml"), help="the config"
    )
    read_config(options.parse_args().configfile)


if __name__ == "__main__":
    run(main)
