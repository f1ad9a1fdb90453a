"""Batches of a set of samples, kept on disk until the output file of their job is complete.

    samples/<set>/step-00000300/.batch-<fingerprint>-00000128.npz

They are named by their position in the set, so a job that is started again, or covers another
range, continues where the earlier one was killed. The fingerprint covers everything that determines
their bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddpm_bench.config.block import canonical_json, what_keys
from ddpm_bench.config.sampling import SampleStage
from ddpm_bench.files import remove_half_written, replacing, sha256_text
from ddpm_bench.records.checksums import UNREADABLE_NPZ
from ddpm_bench.records.layout import padded_step


@dataclass(frozen=True)
class DrawnBatch:
    """Images of a set that were drawn together: uint8 [N, H, W, C] from position `start` on.

    seconds: duration of the drawing.
    """

    start: int
    images: np.ndarray
    seconds: float

    def between(self, first: int, last: int) -> np.ndarray:
        """Return the images at positions first .. last of the set."""
        return self.images[max(first - self.start, 0) : last + 1 - self.start]


def batch_starts(size: int, first: int, last: int) -> list[int]:
    """Return the positions of the batches that hold images first .. last of a set.

    Batches start at the multiples of `size`, so that no image depends on where a job's range begins
    or ends; images outside the range are drawn too, and dropped.
    """
    return list(range(first // size * size, last + 1, size))


def fingerprint(stage: SampleStage, weights_sha256: str) -> str:
    """Return 16 hexadecimal digits that identify all keys of a set and its weights."""
    keys = {"stage": what_keys(stage), "weights": weights_sha256}
    return sha256_text(canonical_json(keys))[:16]


class KeptBatches:
    """Kept batches of one fingerprint, in the folder of a set's checkpoint."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._prefix = folder, f".batch-{name}-"

    def remove_others(self) -> None:
        """Remove batches of other keys or weights: nothing will use them."""
        for path in self._folder.glob("*.batch-*.npz"):
            if self._prefix not in path.name:
                path.unlink(missing_ok=True)

    def has(self, start: int) -> bool:
        """Return whether the batch at a position is kept and complete."""
        return self.find(start) is not None

    def find(self, start: int) -> DrawnBatch | None:
        """Return the batch at a position, or None if it is not kept or not complete."""
        try:
            with np.load(self._path(start), allow_pickle=False) as file:
                return DrawnBatch(start, file["images"], float(file["seconds"]))
        except UNREADABLE_NPZ:
            return None

    def keep(self, batch: DrawnBatch) -> None:
        """Write a batch to disk."""
        with replacing(self._path(batch.start)) as temporary:
            np.savez(temporary, images=batch.images, seconds=batch.seconds)

    def remove(self, starts: Sequence[int]) -> None:
        """Remove batches, and half-written ones that killed processes left."""
        for start in starts:
            self._path(start).unlink(missing_ok=True)
            remove_half_written(self._path(start))

    def _path(self, start: int) -> Path:
        return self._folder / f"{self._prefix}{padded_step(start)}.npz"
