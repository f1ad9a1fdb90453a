"""Folders that a run must write into, checked before its first job."""

import os
from collections.abc import Iterable
from pathlib import Path

from ddpm_bench.errors import UserError
from ddpm_bench.files import existing_folder

SNAKEMAKES_FOLDER = ".snakemake"


def is_writable(path: Path) -> bool:
    """Return True if this user may make a file or folder at a path, or below a folder there."""
    folder = path if path.is_dir() else existing_folder(path)
    return os.access(folder, os.W_OK | os.X_OK)


def check_working_folder() -> None:
    """Raise UserError where Snakemake could not keep its records, which it does in dry runs too."""
    folder = Path.cwd()
    if is_writable(folder / SNAKEMAKES_FOLDER):
        return
    raise UserError(
        f"{folder}: snakemake writes into {SNAKEMAKES_FOLDER} of the folder in which it starts, "
        "also to plan, and may not do so here; start it in a folder of your own, with absolute "
        "paths in the config. The commands status and summary need not write"
    )


def check_outputs(outputs: Iterable[str]) -> None:
    """Raise UserError that names a folder of these files which cannot be written into."""
    folders = {existing_folder(Path(output)) for output in outputs}
    for folder in sorted(folders):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(
                f"{folder}: files are to be made there, and it cannot be written into; allow that, "
                "or set results_dir (for downloads resources_dir) to another folder. No job has run"
            )


def cannot_be_written(results: Path, error: OSError) -> UserError:
    """Return the error for a results folder in which no file can be made, whatever its mode."""
    return UserError(
        f"results_dir, {results.absolute()}: cannot be written into ({error.strerror}); set it to "
        "another folder. No job has run"
    )
