"""Recorded failures: in manifests of training jobs, and beside samples."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpm_bench.config.block import Failing
from ddpm_bench.records.layout import padded_step

FAILED_MARKER = '"failed"'  # in the text of the files that tell of a failure


@dataclass(frozen=True)
class RecordedFailure:
    """Why something could not be made. step: the last that a training has saved, or the checkpoint
    that was to be drawn from; how: the `run` keys that it failed with, without defaults."""

    status: str
    reason: str
    step: int
    how: dict[str, Any]

    def in_words(self) -> str:
        """As "out of memory: 3.2 GB more could not be had; lower ..."."""
        return f"{self.status}: {self.reason}"


def how_keys(run: Failing) -> dict[str, Any]:
    """A `run` block without defaults, to see later whether another try may end otherwise."""
    return run.model_dump(mode="json", exclude_defaults=True)


def read_failed(path: Path) -> RecordedFailure | None:
    """What a manifest, or the file beside samples, tells of a failure; None where it tells of none,
    or is missing."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text).get("failed") if FAILED_MARKER in text else None
    except (OSError, ValueError):
        return None
    return None if found is None else RecordedFailure(**found)


def failure_before(manifest: Path, first: int) -> RecordedFailure | None:
    """The failure of the job that a training job goes on from; both lie in one folder."""
    jobs = manifest.parent.glob(f"job-*-{padded_step(first)}.json") if first else ()
    found = (read_failed(path) for path in jobs)
    return next((failed for failed in found if failed is not None), None)


def failure_of_checkpoint(
    manifest: Path, step: int, sigma_rel: float | None
) -> RecordedFailure | None:
    """Why a checkpoint was never made; None where it was, or its manifest tells of no failure."""
    failed = read_failed(manifest)
    if failed is None:
        return None
    checkpoints = json.loads(manifest.read_text(encoding="utf-8"))["checkpoints"]
    made = {(entry["step"], entry.get("ema_sigma_rel")) for entry in checkpoints}
    return None if (step, sigma_rel) in made else failed


def failure_of_samples(files: Sequence[Path]) -> RecordedFailure | None:
    """Why the images of a set could not be drawn, from what lies beside its files; None where they
    were."""
    found = (read_failed(path.with_suffix(".json")) for path in files)
    return next((failed for failed in found if failed is not None), None)
