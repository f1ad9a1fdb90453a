#!/usr/bin/env python
"""Check a config file: name every wrong key at once, with its value and what is allowed.

Snakemake does the same when it starts. For a file that is not YAML, this also names the line.
"""

import sys

from command import config_parser, run

from ddpm_bench.config.loading import read_config


def main() -> None:
    options = config_parser(__doc__)
    for note in read_config(options.parse_args().configfile).notes():
        print(f"warning: {note}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
