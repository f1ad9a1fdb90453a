#!/usr/bin/env python
"""Show the state of a study: steps, speed, time left, jobs, scores and the latest failures.

Reads the files on disk and, where there is one, SLURM's queue. It takes no lock, so it works beside
a running snakemake, on any machine that sees the folder. Run it in the folder that snakemake runs
in.
"""

import json
import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from command import config_parser, run

from ddpm_bench.config.loading import read_config
from ddpm_bench.planning import jobs
from ddpm_bench.runs.dashboard import dashboard
from ddpm_bench.runs.overview import overview

TO_THE_TOP = "\x1b[H\x1b[J"  # cursor home, clear all below


def main() -> None:
    options = config_parser(__doc__)
    options.add_argument("--json", action="store_true", help="one JSON object, for machines")
    options.add_argument(
        "--watch", type=float, metavar="SECONDS", help="show it again every so many seconds"
    )
    given = options.parse_args()

    with suppress(KeyboardInterrupt):
        while True:
            show(given.configfile, given.json, redraw=given.watch is not None)
            if given.watch is None:
                return
            time.sleep(given.watch)
            jobs.look_again()


def show(config_file: Path, as_json: bool, redraw: bool) -> None:
    state = overview(read_config(config_file), config_file, Path.cwd())
    if as_json:
        print(json.dumps(asdict(state)), flush=True)
        return
    terminal = sys.stdout.isatty()
    lines = list(dashboard(state, coloured=terminal and "NO_COLOR" not in os.environ))
    if redraw and terminal:
        lines = lines[: shutil.get_terminal_size().lines - 1]
        print(TO_THE_TOP, end="")
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    run(main)
