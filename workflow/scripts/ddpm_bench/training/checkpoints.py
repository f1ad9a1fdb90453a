"""What a training leaves on disk: resumable states, checkpoints of EMA weights, manifests.

    results/<experiment>/training/<fingerprint>/state/step-00000450/   the last two states
    results/<experiment>/training/<fingerprint>/checkpoints/step-00000300.safetensors
    (and step-00000300.ema-0.05.safetensors for each width of train.ema_sigma_rels)
    results/<experiment>/training/<fingerprint>/thinned.json           what `keep` has removed
    results/<experiment>/training/job-00000000-00000600.json           manifest of a finished job
    results/<experiment>/checkpoints/step-00000300.safetensors         the same files, linked
                                     autoencoder.safetensors           of a training in latents

The fingerprint is a hash of all that determines the trained weights, so another configuration
trains in a folder of its own and nothing trained is ever deleted.
"""

import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ddpm_bench.config.block import canonical_json, what_keys
from ddpm_bench.config.training import KEYS_OF_KEPT_WEIGHTS, TrainStage
from ddpm_bench.errors import UserError
from ddpm_bench.files import (
    allowed,
    read_json,
    replacing,
    replacing_folder,
    room,
    sha256,
    sha256_text,
    write_json,
)
from ddpm_bench.records.layout import checkpoint_name
from ddpm_bench.text import size_text
from ddpm_bench.training.manifests import average_name, read_thinned

STATES_KEPT = 2


def fingerprint(stage: TrainStage, images_sha256: str) -> str:
    """16 hexadecimal digits that name a training: its keys and its images, not where it stops.

    `checkpoint_every` is left out too: it decides which weights are kept, not what they are.
    """
    train = what_keys(stage.train, leave_out=KEYS_OF_KEPT_WEIGHTS)
    if stage.train.init_from is not None:
        train["init_from"] = stage.train.init_from.sha256
    keys = {
        "version": stage.version,
        "model": what_keys(stage.model),
        "diffusion": what_keys(stage.diffusion),
        "train": train,
        "images": images_sha256,
    }
    return sha256_text(canonical_json(keys))[:16]


@dataclass
class TrainingState:
    """All that a training needs to go on as if it had never stopped.

    `tensors` holds float32 tensors on the CPU named model.*, ema.*, ema-WIDTH.*, exp_avg.* and
    exp_avg_sq.*; `metrics` the text of metrics.csv so far; `pending_losses` those of the steps
    since its last row, None for a skipped one; `counters` what else is counted, by name.
    """

    step: int
    tensors: dict[str, torch.Tensor]
    metrics: str
    pending_losses: list[float | None] = field(default_factory=list)
    counters: dict[str, float] = field(default_factory=dict)


class TrainingFolder:
    """The folder of one training (one fingerprint) of an experiment.

    `check` is called before anything in it appears under its name, and prevents that by raising.
    """

    def __init__(
        self, experiment_folder: Path, name: str, check: Callable[[], None] = allowed
    ) -> None:
        self.experiment_folder = experiment_folder
        self.name = name
        self.check = check
        self.path = experiment_folder / "training" / name
        self.states = self.path / "state"
        self.states.mkdir(parents=True, exist_ok=True)

    def remove_leftovers(self) -> None:
        """Remove what a process left that was killed while saving; for the owner alone."""
        ours, safetensors = ".*.partial*", ".tmp*"  # it writes under a name of its own first
        for place, name in itertools.product(("training", "checkpoints"), (ours, safetensors)):
            for leftover in list((self.experiment_folder / place).rglob(name)):
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink(missing_ok=True)

    def check_room(self, checkpoints: int, checkpoint_bytes: int, state_bytes: int) -> str:
        """What a job will write, and what is free, in words; states that are there count as there.

        checkpoints: how many files of averaged weights are still to be written; each has
        checkpoint_bytes, each state state_bytes. Raises UserError when they do not fit.
        """
        states = STATES_KEPT + 1 - min(STATES_KEPT, len(self._state_folders()))
        parts = [(checkpoints, "checkpoint", checkpoint_bytes), (states, "state", state_bytes)]
        listing = " and ".join(
            f"{count} {name}{'s' if count > 1 else ''} of {size_text(size)}"
            for count, name, size in parts
            if count
        )
        needed, free = sum(count * size for count, _, size in parts), room(self.path)
        if needed > free:
            raise UserError(
                f"{self.experiment_folder} has no room for this training: {listing} take "
                f"{size_text(needed)} in all and {size_text(free)} are free. Make room, or set "
                "results_dir to a folder on a larger disk, or make fewer checkpoints with a larger "
                "train.checkpoint_every; `keep` thins those that are scored"
            )
        return (
            f"disk: {listing}, {size_text(needed)} in all; {size_text(free)} are free in "
            f"{self.experiment_folder}"
        )

    def publish_progress(self) -> None:
        """Make progress.jsonl of the experiment that of this training."""
        target = self.experiment_folder / "progress.jsonl"
        publish(self.path / "progress.jsonl", target, self.check)

    def checkpoint(self, step: int, sigma_rel: float | None = None) -> Path:
        average = "" if sigma_rel is None else f".{average_name(sigma_rel)}"
        return self.path / "checkpoints" / f"{checkpoint_name(step)}{average}.safetensors"

    @property
    def thinned_record(self) -> Path:
        return self.path / "thinned.json"

    def thinned(self) -> dict[str, dict[str, Any]]:
        """What `keep` has removed: step, sha256 and bytes by the file's name."""
        return read_thinned(self.thinned_record)

    def has_checkpoint(self, step: int, sigma_rels: Sequence[float] = ()) -> bool:
        """Whether a step's weights are saved, or were and are thinned; with all its averages."""
        paths = [self.checkpoint(step, sigma_rel) for sigma_rel in (None, *sigma_rels)]
        thinned = self.thinned()
        return all(path.exists() or path.name in thinned for path in paths)

    def save_checkpoint(
        self,
        step: int,
        weights: dict[str, torch.Tensor],
        about: str,
        sigma_rel: float | None = None,
    ) -> None:
        """Write averaged weights and publish them; `about` is stored as the file's metadata."""
        # One metadata key only: safetensors writes several in no fixed order.
        path, size = self.checkpoint(step, sigma_rel), bytes_of(weights)
        with replacing(path, self.check, size) as temporary:
            save_file(weights, temporary, metadata={"ddpm_bench": about})
        self.publish_checkpoint(step, sigma_rel)

    def publish_checkpoint(self, step: int, sigma_rel: float | None = None) -> None:
        source = self.checkpoint(step, sigma_rel)
        publish(source, self.experiment_folder / "checkpoints" / source.name, self.check)

    def save_state(self, state: TrainingState) -> None:
        """Write a state, then drop all but the last two before it; later ones stay."""
        folder = self.states / checkpoint_name(state.step)
        with replacing_folder(folder, self.check, bytes_of(state.tensors)) as temporary:
            save_file(state.tensors, temporary / "tensors.safetensors")
            (temporary / "metrics.csv").write_text(state.metrics)
            files = ("tensors.safetensors", "metrics.csv")
            description = {
                "step": state.step,
                "pending_losses": state.pending_losses,
                "counters": state.counters,
                "sha256": {name: sha256(temporary / name) for name in files},
            }
            (temporary / "state.json").write_text(json.dumps(description, indent=2))
        earlier = [path for path in self._state_folders() if path.name <= folder.name]
        for path in earlier[STATES_KEPT:]:
            shutil.rmtree(path)

    def latest_valid_step(self, at_most: int) -> int | None:
        """The step of the last valid state at or before a step; None where there is none.

        Invalid ones are passed over with a warning.
        """
        for folder in self._state_folders():
            if folder.name > checkpoint_name(at_most):
                continue
            try:
                return _checked_description(folder)["step"]
            except (OSError, ValueError, KeyError) as error:
                print(
                    f"warning: state {folder} is damaged ({error}); trying the one before",
                    file=sys.stderr,
                )
        return None

    def state(self, step: int) -> TrainingState:
        """The state of a step that `latest_valid_step` has named."""
        return _read_state(self.states / checkpoint_name(step))

    def _state_folders(self) -> list[Path]:
        """Newest first."""
        return sorted(self.states.glob("step-" + "[0-9]" * 8), reverse=True)

    def set_others_aside(self, about: str) -> None:
        """Take published checkpoints of another training out of sight, into its own folder.

        about: the stage's JSON of this training, kept to say later what has changed.
        """
        marker = self.experiment_folder / "training" / "current.json"
        before = read_json(marker)["fingerprint"] if marker.exists() else self.name
        if before != self.name:
            aside = self.experiment_folder / "training" / before
            published = sorted((self.experiment_folder / "checkpoints").glob("step-*.safetensors"))
            for path in published:
                kept = aside / "checkpoints" / path.name
                if kept.exists():
                    path.unlink()
                else:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(kept)
            print(
                f"the configuration of {self.experiment_folder.name} has changed: training begins "
                f"anew; the {len(published)} checkpoints so far are kept in {aside}",
                file=sys.stderr,
            )
        write_json(marker, {"fingerprint": self.name, "keys": json.loads(about)})

    def publish_metrics(self, text: str) -> None:
        """Make metrics.csv of the experiment that of this training."""
        with replacing(self.experiment_folder / "metrics.csv", self.check) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def finish(
        self,
        first: int,
        last: int,
        steps: list[int],
        sigma_rels: Sequence[float],
        about: str,
        autoencoder: Mapping[str, Any] | None = None,
    ) -> dict[str, object]:
        """Publish what a finished job has made; returns its manifest: no clock, no host in it.

        autoencoder: what is said of the one in whose latents the training is (latents/encoding.py).
        """
        entries = []
        thinned = self.thinned()
        for step, sigma_rel in itertools.product(steps, (None, *sigma_rels)):
            path = self.checkpoint(step, sigma_rel)
            if path.exists():
                self.publish_checkpoint(step, sigma_rel)
                digest = sha256(path)
            else:
                digest = thinned[path.name]["sha256"]
            entry = {"step": step, "file": f"checkpoints/{path.name}", "sha256": digest}
            entries.append(entry if sigma_rel is None else {**entry, "ema_sigma_rel": sigma_rel})
        for newest in self._state_folders()[:1]:  # none when a job has no checkpoint to make
            self.publish_metrics((newest / "metrics.csv").read_text())
            self.publish_progress()
        return {
            "fingerprint": self.name,
            "first_step": first,
            "last_step": last,
            "checkpoints": entries,
            "keys": json.loads(about),
            **({} if autoencoder is None else {"autoencoder": autoencoder}),
        }


def bytes_of(tensors: Mapping[str, torch.Tensor]) -> int:
    """How many bytes the values of tensors take, in memory and in a file."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _checked_description(folder: Path) -> dict[str, Any]:
    """state.json of a state whose other files are as it says. Raises OSError, ValueError, KeyError
    for any that is not."""
    description = read_json(folder / "state.json")
    for name, expected in description["sha256"].items():
        if sha256(folder / name) != expected:
            raise ValueError(f"{name} does not have the sha256 that was saved with it")
    return description


def _read_state(folder: Path) -> TrainingState:
    description = _checked_description(folder)
    return TrainingState(
        step=description["step"],
        tensors=load_file(folder / "tensors.safetensors"),
        metrics=(folder / "metrics.csv").read_text(),
        pending_losses=description["pending_losses"],
        counters=description["counters"],
    )


def publish(source: Path, target: Path, check: Callable[[], None] = allowed) -> None:
    """Make `target` the same file as `source`: a hard link, or a copy where links are refused."""
    if target.exists() and target.samefile(source):
        return
    with replacing(target, check) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
