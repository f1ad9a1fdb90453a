"""Checkpoints of averaged weights: saved in a training's folder, linked to where stages read them.

results/<experiment>/training/<fingerprint>/checkpoints/step-00000300.safetensors
(and step-00000300.ema-0.05.safetensors for each width of train.ema_sigma_rels)
results/<experiment>/training/<fingerprint>/checksums.json    their sha256 by file name, as written
results/<experiment>/training/<fingerprint>/thinned.json      those that `keep` has removed
results/<experiment>/checkpoints/step-00000300.safetensors    the same files, linked
"""

import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ddpm_bench.errors import UserError
from ddpm_bench.files import allowed, replacing, sha256, write_record
from ddpm_bench.records.json_record import ANEW, read_record
from ddpm_bench.records.layout import weights_name
from ddpm_bench.training.manifests import read_thinned
from ddpm_bench.training.states import bytes_of


class Checkpoints:
    """The checkpoints of one training: their files, published ones, and those that are thinned.

    path: the training's folder; published: the experiment's folder of checkpoints, which later
    stages read. `check` is called before a file appears under its name, and prevents that by
    raising. sigma_rel, throughout: the width of a power-function average; None for the average of
    train.ema_decay.
    """

    def __init__(self, path: Path, published: Path, check: Callable[[], None] = allowed) -> None:
        self._folder, self._published, self._check = path / "checkpoints", published, check
        self._checksums = path / "checksums.json"
        self.thinned_record = path / "thinned.json"

    def file(self, step: int, sigma_rel: float | None = None) -> Path:
        """Return the path of a step's averaged weights in the training's folder."""
        return self._folder / weights_name(step, sigma_rel)

    def copies(self, name: str) -> list[Path]:
        """Return the paths of a checkpoint's file: published, and in the training's folder.

        [] where it lies at neither.
        """
        paths = (self._published / name, self._folder / name)
        return [path for path in paths if path.exists()]

    def thinned(self) -> dict[str, dict[str, Any]]:
        """Return the checkpoints that `keep` has removed: step, sha256, bytes by file name."""
        return read_thinned(self.thinned_record)

    def missing(self, steps: Iterable[int], sigma_rels: Sequence[float] = ()) -> list[int]:
        """Return the steps of which an average was never saved, or is damaged.

        Averages that were saved and are thinned are not missing. Damaged ones are named on stderr.
        """
        thinned, checksums = self.thinned(), self.checksums()

        def is_there(path: Path) -> bool:
            if path.exists():
                return _is_whole(path, checksums.get(path.name))
            return path.name in thinned

        return [
            step
            for step in steps
            if not all(is_there(self.file(step, sigma_rel)) for sigma_rel in (None, *sigma_rels))
        ]

    def checksums(self) -> dict[str, str]:
        """Return the sha256 of the files as they were written, by name.

        Those of an earlier version may lack here, and are taken when they are next published.
        """
        return read_record(self._checksums) if self._checksums.exists() else {}

    def save(
        self,
        step: int,
        weights: dict[str, torch.Tensor],
        about: str,
        sigma_rel: float | None = None,
    ) -> None:
        """Write averaged weights and publish them; `about` is stored as the file's metadata."""
        # One metadata key only: safetensors writes several in no fixed order.
        path, size = self.file(step, sigma_rel), bytes_of(weights)
        with replacing(path, self._check, size) as temporary:
            save_file(weights, temporary, metadata={"ddpm_bench": about})
            # First: a file that is not the one named here is trained again, one not named is not.
            self._check()
            write_record(self._checksums, {**self.checksums(), path.name: sha256(temporary)})
        self.publish(step, sigma_rel)

    def publish(self, step: int, sigma_rel: float | None = None) -> None:
        """Link a step's weights into the experiment's folder of checkpoints."""
        source = self.file(step, sigma_rel)
        publish(source, self._published / source.name, self._check)

    def publish_all(
        self, steps: Iterable[int], sigma_rels: Sequence[float]
    ) -> list[dict[str, Any]]:
        """Publish the checkpoints of some steps; return their entries in a job's manifest.

        Thinned ones have an entry too, with the sha256 that they had. Raises UserError for a file
        that has changed since it was written.
        """
        entries = []
        thinned, checksums = self.thinned(), self.checksums()
        for step, sigma_rel in itertools.product(steps, (None, *sigma_rels)):
            path = self.file(step, sigma_rel)
            if path.exists():
                digest = sha256(path)
                if checksums.setdefault(path.name, digest) != digest:
                    raise UserError(
                        f"{path}: has changed since it was written (sha256 differs); {ANEW}: it is "
                        "trained again"
                    )
                self.publish(step, sigma_rel)
            else:
                digest = thinned[path.name]["sha256"]
            entry = {"step": step, "file": f"checkpoints/{path.name}", "sha256": digest}
            entries.append(entry if sigma_rel is None else {**entry, "ema_sigma_rel": sigma_rel})
        if checksums != self.checksums():
            self._check()
            write_record(self._checksums, checksums)
        return entries

    def set_published_aside(self, other_training: Path) -> int:
        """Move all published checkpoints to another training's folder; return their number.

        That training has made them, so they may lie there already.
        """
        published = sorted(self._published.glob("step-*.safetensors"))
        for path in published:
            kept = other_training / "checkpoints" / path.name
            if kept.exists():
                path.unlink()
            else:
                kept.parent.mkdir(parents=True, exist_ok=True)
                path.replace(kept)
        return len(published)


def _is_whole(path: Path, expected: str | None) -> bool:
    """Return True if a file has its sha256, or without one is a whole file; else name it."""
    try:
        if expected is None:
            with safe_open(path, framework="pt"):  # its header and its length
                return True
        if sha256(path) == expected:
            return True
    except (OSError, SafetensorError) as error:
        print(f"warning: {path} cannot be read ({error})", file=sys.stderr)
    print(
        f"warning: checkpoint {path} is damaged: a training makes it again from the last state "
        "before it",
        file=sys.stderr,
    )
    return False


def publish(source: Path, target: Path, check: Callable[[], None] = allowed) -> None:
    """Make `target` the same file as `source`: a hard link, or a copy where links are refused."""
    if target.exists() and target.samefile(source):
        return
    with replacing(target, check) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
