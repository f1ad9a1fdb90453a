"""Shared start of all commands: the library on Python's path, and the option of the config file.

Programs of rules stand beside the library, commands in a folder of their own: each imports this
module before the library.
"""

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ddpm_bench.cli import local_path, parser, run, snakemake_command
from ddpm_bench.errors import UserError

__all__ = ["config_parser", "local_path", "parser", "run", "snakemake_summary"]


def config_parser(description: str | None) -> ArgumentParser:
    """Return an argument parser with the option --configfile; the demo's config is its default."""
    options = parser(description or "")
    options.add_argument(
        "--configfile",
        type=local_path,
        default=Path("config/config.yaml"),
        help="the workflow's config",
    )
    return options


def snakemake_summary(config_file: Path, *targets: str) -> list[str]:
    """Return the lines of `snakemake --summary`: the state of all files of these targets.

    Works beside a running snakemake. Raises UserError where Snakemake fails.
    """
    command = snakemake_command(config_file, "--nolock", "--summary", *targets)
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise UserError(f"snakemake cannot plan this run:\n{asked.stderr.strip()}")
    return asked.stdout.splitlines()
