"""Checksums of files that one stage writes and another reads, in records beside them.

Beside train.npy, eval.npy, images.csv and images.npy lies summary.json, beside a file of samples
the timing of the same name, and beside a table its checksum alone: .evaluation_results.csv.sha256.
Files of earlier versions have fewer checksums.
"""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json, sha256, write_text
from ddpm_bench.records.json_record import ANEW

if TYPE_CHECKING:  # imported where it is used: it takes a while
    import numpy as np

SUMMARY = "summary.json"
# Errors of numpy for a damaged .npz, whose members have checksums of their own (CRC-32).
UNREADABLE_NPZ = (
    *(OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


def check_file(path: Path) -> None:
    """Raise UserError if a file is missing or has another sha256 than the record beside it names.

    A file without such a record passes, and so does one beside other JSON of the user.
    """
    if not path.is_file():
        raise UserError(f"{path}: is missing; run snakemake again")
    record = next(filter(Path.is_file, _records(path)), None)
    if record is None:
        return
    expected = _named_checksum(record, path)
    if expected is not None and sha256(path) != expected:
        raise UserError(f"{path}: damaged (its sha256 is not the one in {record}); {ANEW}")


def _named_checksum(record: Path, path: Path) -> Any:
    """Return the sha256 that a record names for a file; None if it names none."""
    if record.suffix == ".sha256":
        return record.read_bytes()[:64].decode(errors="replace")
    try:
        found = read_json(record)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{record}: cannot be read as the record of {path.name} ({error}); {ANEW}, or, if it "
            "is no record of ddpm-bench, move it to another folder"
        ) from None
    expected = found.get("sha256") if isinstance(found, dict) else None
    return expected.get(path.stem) if isinstance(expected, dict) else expected


def _records(path: Path) -> tuple[Path, ...]:
    """Return the files that may hold the checksum of a file."""
    return _own_record(path), path.with_suffix(".json"), path.with_name(SUMMARY)


def _own_record(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def write_checksum(path: Path, content: Path) -> None:
    """Write the checksum of a file that is about to be `path`, as the program sha256sum does."""
    write_text(_own_record(path), f"{sha256(content)}  {path.name}\n")


def open_array(path: Path) -> "np.ndarray":
    """Map the array of a .npy file into memory, once its bytes are checked as by `check_file`.

    Raises UserError if it is missing, damaged or no array.
    """
    import numpy as np

    check_file(path)
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as an array ({error}); {ANEW}") from None
