"""Images that version 1 of preparing made, and that version 2 would make alike.

Version 2 reads TIFF, gray PNG and some files that were left out otherwise. A dataset without any of
them keeps its images and all that was made from them: a job that runs again makes its results new,
for Snakemake and for our records, even where they are equal byte for byte.
"""

import csv
import functools
from pathlib import Path, PurePosixPath

from ddpm_bench.config.versions import VERSIONS
from ddpm_bench.records import layout
from ddpm_bench.records.datasets import DatasetSummary

TIFF = (".tif", ".tiff")
NOW_READ = (*TIFF, ".png", ".jpg", ".jpeg", ".heic", ".heif", ".hif")
# Reasons of version 1 that are no reason any more for some of the files above.
EARLIER_REASONS = (
    "not an image of a known format",
    "broken or truncated image",
    "animated: more than one frame",
)


def preparing_version(results_dir: str, dataset: str) -> int:
    """Return the version of preparing that a dataset is to have.

    It is the present one for a dataset that is to be prepared, and that of its images as long as
    the present one would make the same images.
    """
    present = VERSIONS["prepare"]
    summary = DatasetSummary.read_if_there(layout.dataset_summary(results_dir, dataset))
    if present != 2 or summary is None:
        return present
    if summary.version is not None:
        return summary.version
    table = layout.dataset_folder(results_dir, dataset) / "images.csv"
    try:
        return 2 if _has_changed(table, table.stat().st_mtime_ns) else 1
    except (OSError, ValueError, KeyError, csv.Error):
        return present


@functools.lru_cache
def _has_changed(table: Path, modified: int) -> bool:
    """Return True if version 2 might read any file of a table otherwise than version 1."""
    with table.open(newline="", encoding="utf-8") as file:
        return any(
            _is_read_otherwise(row["source"], row["mode"], row["left_out"])
            for row in csv.DictReader(file)
        )


def _is_read_otherwise(source: str, mode: str, left_out: str) -> bool:
    """Return True if version 2 might read a file otherwise than version 1."""
    suffix = PurePosixPath(source).suffix.lower()
    if left_out:
        return left_out in EARLIER_REASONS and suffix in NOW_READ
    one_channel = mode in ("L", "I", "F") or mode.startswith("I;16")
    return mode == "F" or (one_channel and suffix in TIFF) or (mode == "L" and suffix == ".png")
