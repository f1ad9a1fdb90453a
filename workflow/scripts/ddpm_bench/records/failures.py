"""Recorded failures: in manifests of training jobs, and beside samples.

A failed training job has a manifest with the checkpoints that were made before. Samples of a
checkpoint that was not made, or could not be drawn from, are a file without images.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpm_bench.config.block import Failing
from ddpm_bench.records.layout import padded_step

FAILED_MARKER = '"failed"'  # in the text of files with a failure, which are few


@dataclass(frozen=True)
class RecordedFailure:
    """The reason that a file could not be made.

    step: the last saved one of a training, or that of the checkpoint to draw from. how: the `run`
    keys of the failed job, without defaults.
    """

    status: str
    reason: str
    step: int
    how: dict[str, Any]

    def in_words(self) -> str:
        """Return status and reason: "out of memory: 3.2 GB more could not be had; lower ..."."""
        return f"{self.status}: {self.reason}"


def how_keys(run: Failing) -> dict[str, Any]:
    """Return a `run` block without defaults: another attempt is made when it has changed."""
    return run.model_dump(mode="json", exclude_defaults=True)


def read_failed(path: Path) -> RecordedFailure | None:
    """Read the failure in a manifest, or in the file beside samples.

    Returns None if there is none, or the file is missing or incomplete.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text).get("failed") if FAILED_MARKER in text else None
    except (OSError, ValueError):
        return None
    return None if found is None else RecordedFailure(**found)


def failure_before(manifest: Path, first: int) -> RecordedFailure | None:
    """Return the failure of the job whose training the job after step `first` continues.

    The manifests of both are in one folder.
    """
    jobs = manifest.parent.glob(f"job-*-{padded_step(first)}.json") if first else ()
    found = (read_failed(path) for path in jobs)
    return next((failed for failed in found if failed is not None), None)


def failure_of_checkpoint(
    manifest: Path, step: int, sigma_rel: float | None
) -> RecordedFailure | None:
    """Return the failure because of which a checkpoint was not made; None if it was made."""
    failed = read_failed(manifest)
    if failed is None:
        return None
    checkpoints = json.loads(manifest.read_text(encoding="utf-8"))["checkpoints"]
    made = {(entry["step"], entry.get("ema_sigma_rel")) for entry in checkpoints}
    return None if (step, sigma_rel) in made else failed


def failure_of_samples(files: Sequence[Path]) -> RecordedFailure | None:
    """Return the first failure beside a checkpoint's files of samples; None if all were drawn."""
    found = (read_failed(path.with_suffix(".json")) for path in files)
    return next((failed for failed in found if failed is not None), None)
