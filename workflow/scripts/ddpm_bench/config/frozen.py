"""The config that a run began with, kept in a file for its jobs.

A SLURM job reads the config file when it starts, which may be days after the run did. Its user may
have edited the file by then: the job would no longer be the one that was planned.
"""

from pathlib import Path
from typing import Any

import yaml

from ddpm_bench.files import sha256_text, write_text

ABBREVIATED = 16  # hexadecimal digits of a name


def frozen_config(raw: dict[str, Any], folder: Path) -> Path:
    """Write a parsed config into `folder`, under a name by its content; returns the absolute path.

    raw: with what the command line put over it. Relative paths in it stay as they are: they are
    relative to the working directory, which jobs share. The same config is written once.
    """
    text = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)
    path = folder.absolute() / f"{sha256_text(text)[:ABBREVIATED]}.yaml"
    if not path.exists():
        write_text(path, text)
    return path
