#!/usr/bin/env python
"""Draw the HTML report: every figure and table in one page, with captions.

Snakemake makes it from the finished results, without a network. A page that is newer than all that
it shows is left alone.
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from command import config_parser, run, snakemake_summary

from ddpm_bench.cli import snakemake_command
from ddpm_bench.config.loading import read_config
from ddpm_bench.errors import UserError
from ddpm_bench.planning.forecast import pending_files
from ddpm_bench.planning.targets import benchmark_is_measured, benchmark_targets, targets


def main() -> int:
    options = config_parser(__doc__)
    args = options.parse_args()
    config = read_config(args.configfile)
    page = Path(config.results_dir, "report.html")
    waiting = pending_files(snakemake_summary(args.configfile, "all"))
    if waiting:
        raise UserError(
            f"the run of {args.configfile} is not finished: {len(waiting)} files are missing, or "
            f"of other settings or inputs, such as {waiting[0][0]}; finish it (make run "
            f"CONFIG={args.configfile}), or look at what is there so far (make snapshot "
            f"CONFIG={args.configfile})"
        )
    with_benchmark = benchmark_is_measured(config)
    shown = dict.fromkeys(
        [*targets(config), *(benchmark_targets(config) if with_benchmark else [])]
    )
    if is_current(page, shown):
        print(f"{page} is up to date")
        return 0
    rules = ["all", "benchmark"] if with_benchmark else ["all"]
    command = snakemake_command(args.configfile, "--report", str(page), *rules)
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise UserError(f"the report could not be made; snakemake:\n{made.stderr.strip()}")
    print(f"{page}: open it in a browser")
    return 0


def is_current(page: Path, shown: Iterable[str]) -> bool:
    """Return True if the page is newer than every figure and table that it shows."""
    if not page.exists():
        return False
    made = page.stat().st_mtime_ns
    return all(Path(path).stat().st_mtime_ns <= made for path in shown)


if __name__ == "__main__":
    run(main)
