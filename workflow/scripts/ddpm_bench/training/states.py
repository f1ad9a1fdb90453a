"""Resumable states of a training on disk.

results/<experiment>/training/<fingerprint>/state/step-00000450/   one of the last two
    tensors.safetensors    weights, averages and moments
    metrics.csv            its rows so far
    state.json             the step, counters, the sha256 of the other two files, and its own
"""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ddpm_bench.files import allowed, read_json, replacing_folder, sha256, with_checksum
from ddpm_bench.records.layout import checkpoint_name

STATES_KEPT = 2
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)  # of a file read as a state


@dataclass
class TrainingState:
    """A training at the end of a step, complete enough to go on as if it had never stopped.

    `tensors` holds float32 tensors on the CPU named model.*, ema.*, ema-WIDTH.*, exp_avg.* and
    exp_avg_sq.*, and those of the objective; `metrics` the text of metrics.csv so far;
    `pending_losses` the losses of the steps since its last row, None for a skipped step;
    `counters` further numbers by name: skipped, skipped_in_a_row, loss_scale, good_steps.
    """

    step: int
    tensors: dict[str, torch.Tensor]
    metrics: str
    pending_losses: list[float | None] = field(default_factory=list)
    counters: dict[str, float] = field(default_factory=dict)


class SavedStates:
    """The folder of a training's states, each in a folder of its own.

    `check` is called before a state appears under its name, and prevents that by raising.
    """

    def __init__(self, path: Path, check: Callable[[], None] = allowed) -> None:
        self.path, self._check = path, check
        self.path.mkdir(parents=True, exist_ok=True)

    def folders(self) -> list[Path]:
        """Return the folders of all states, damaged ones too, the newest first."""
        return sorted(self.path.glob("step-" + "[0-9]" * 8), reverse=True)

    def save(self, state: TrainingState) -> None:
        """Write a state, then remove all but the last two up to it; later ones stay."""
        folder = self.path / checkpoint_name(state.step)
        with replacing_folder(folder, self._check, bytes_of(state.tensors)) as temporary:
            save_file(state.tensors, temporary / "tensors.safetensors")
            (temporary / "metrics.csv").write_text(state.metrics)
            files = ("tensors.safetensors", "metrics.csv")
            description = {
                "step": state.step,
                "pending_losses": state.pending_losses,
                "counters": state.counters,
                "sha256": {name: sha256(temporary / name) for name in files},
            }
            text = json.dumps(with_checksum(description), indent=2)
            (temporary / "state.json").write_text(text)
        earlier = [path for path in self.folders() if path.name <= folder.name]
        for path in earlier[STATES_KEPT:]:
            shutil.rmtree(path)

    def newest_metrics(self) -> str | None:
        """Return metrics.csv of the newest state in which it is whole; None without one."""
        for folder in self.folders():
            with suppress(*DAMAGE):
                expected = read_json(folder / "state.json")["sha256"]["metrics.csv"]
                if sha256(folder / "metrics.csv") == expected:
                    return (folder / "metrics.csv").read_text()
        return None

    def latest_valid_step(self, at_most: int) -> int | None:
        """Return the step of the last valid state at or before a step; None where there is none.

        Damaged ones are passed over with a warning.
        """
        folders = [path for path in self.folders() if path.name <= checkpoint_name(at_most)]
        for folder in folders:
            try:
                return _checked_description(folder)["step"]
            except DAMAGE as error:
                print(
                    f"warning: state {folder} is damaged ({error}); trying the one before",
                    file=sys.stderr,
                )
        if folders:
            print("no state is left: training begins at step 0", file=sys.stderr)
        return None

    def read(self, step: int) -> TrainingState:
        """Return the state of a step that `latest_valid_step` has found.

        Raises OSError, ValueError or KeyError where it has been damaged since.
        """
        folder = self.path / checkpoint_name(step)
        description = _checked_description(folder)
        return TrainingState(
            step=description["step"],
            tensors=load_file(folder / "tensors.safetensors"),
            metrics=(folder / "metrics.csv").read_text(),
            pending_losses=description["pending_losses"],
            counters=description["counters"],
        )


def bytes_of(tensors: Mapping[str, torch.Tensor]) -> int:
    """Return the bytes that the values of tensors take, in memory and in a file."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _checked_description(folder: Path) -> dict[str, Any]:
    """Return the content of a state's state.json, after a check of its other files' sha256.

    Raises OSError, ValueError or KeyError where a file is missing or damaged.
    """
    description = read_json(folder / "state.json")
    for name, expected in description["sha256"].items():
        if sha256(folder / name) != expected:
            raise ValueError(f"{name} does not have the sha256 that was saved with it")
    return description
