"""Shared start of all commands: the library on Python's path, and the option of the config file.

Programs of rules stand beside the library, commands in a folder of their own: each imports this
module before the library.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ddpm_bench.cli import local_path, parser, run

__all__ = ["config_parser", "local_path", "parser", "run"]


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
