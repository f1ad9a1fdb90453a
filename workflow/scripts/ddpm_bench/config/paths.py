"""Paths that Snakemake handles: folders to write into, in one spelling, and files to read.

They are written as in a shell: `~` and variables of the environment are replaced.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from ddpm_bench.files import expanded_path

# Keys with a path, wherever they stand in a config.
PATH_KEYS = frozenset({"results_dir", "resources_dir", "path"})

# Bytes. File systems take 255 for a name; commands name files of all experiments at once.
LONGEST = 255
# Snakemake reads them in a path as wildcards and path variables.
SPECIAL = "{}<>"
WILDCARD = re.compile(r"\{.*\}|<.*>")
READ_AS_WILDCARD = "which Snakemake reads as a wildcard; choose another name"


def one_spelling(written: str) -> str:
    """Return a folder in the spelling that rules and library share; `results` stays as it is.

    The rules put their files' names behind it, and Snakemake compares paths as text: `results/`,
    `./results` and `a//b` become `results` and `a/b`, the working folder its absolute path. Raises
    ValueError for what cannot be a folder on this machine, or not in a path of Snakemake's.
    """
    problem = _of_the_text(written) or _of_the_length(written) or _of_the_disk(written)
    if problem:
        raise ValueError(problem)
    folder = Path(written)
    return str(Path.cwd() if folder == Path() else folder)


def _of_the_text(written: str) -> str | None:
    if not written.strip():
        return "is empty; name a folder"
    if any(ord(character) < 32 or ord(character) == 127 for character in written):
        return "has a control character, such as a line break; remove it"
    if any("\ud800" <= character <= "\udfff" for character in written):
        return "has a character that UTF-8 does not have; remove it"
    if found := " and ".join(character for character in SPECIAL if character in written):
        return f"has {found}, {READ_AS_WILDCARD}"
    if "://" in written:
        return "is an address; name a folder on this machine"
    if str(Path(written)).startswith("-"):
        return "begins with -, as options do; choose another name, or give an absolute path"
    return None


def _of_the_length(written: str) -> str | None:
    length = len(os.fsencode(written))
    if length > LONGEST:
        return f"has {length} bytes, and at most {LONGEST} are possible; give a shorter path"
    return None


def _of_the_disk(written: str) -> str | None:
    folder = Path(written).absolute()
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if existing.is_dir():
        return None
    kind = "a link that leads to no folder" if existing.is_symlink() else "no folder"
    return f"{existing} is {kind}; name another, or remove that"


def one_file(written: str) -> str:
    """Return the path of a file as it was written. Raises ValueError for what jobs cannot name."""
    if found := WILDCARD.search(written):
        raise ValueError(f"has {found[0]}, {READ_AS_WILDCARD}")
    if written.startswith("-"):
        raise ValueError(f"begins with -, as options do; write ./{written}")
    return written


def paths_written_out(raw: Any) -> Any:
    """Return a copy of a checked, parsed config with its paths expanded.

    It means the same on another machine, where variables may have other values. That of an outer
    workflow has keys which are not ours: a path there that cannot be expanded stays as it is.
    """
    if isinstance(raw, dict):
        return {
            key: _written_out(value)
            if key in PATH_KEYS and isinstance(value, str)
            else paths_written_out(value)
            for key, value in raw.items()
        }
    return [paths_written_out(value) for value in raw] if isinstance(raw, list) else raw


def _written_out(path: str) -> str:
    try:
        return expanded_path(path)
    except ValueError:
        return path


OutputFolder = Annotated[str, AfterValidator(expanded_path), AfterValidator(one_spelling)]
InputFile = Annotated[str, AfterValidator(expanded_path), AfterValidator(one_file)]
