"""Checksums of files that one stage writes and another reads, in the JSON records beside them.

Beside train.npy, eval.npy, images.csv and images.npy lies summary.json, beside a file of samples
the timing of the same name. Records of earlier versions have fewer checksums.
"""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from ddpm_bench.errors import UserError
from ddpm_bench.files import sha256
from ddpm_bench.records.json_record import ANEW, read_record

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

    A file without such a record passes.
    """
    if not path.is_file():
        raise UserError(f"{path}: is missing; run snakemake again")
    for record in (path.with_suffix(".json"), path.with_name(SUMMARY)):
        if record.is_file():
            expected = read_record(record).get("sha256")
            if isinstance(expected, dict):
                expected = expected.get(path.stem)
            if expected is not None and sha256(path) != expected:
                raise UserError(f"{path}: damaged (its sha256 is not the one in {record}); {ANEW}")
            return


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
