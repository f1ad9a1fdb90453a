"""How a training stands, for whoever watches: a bar, progress.jsonl, TensorBoard."""

import json
import math
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from accelerate import Accelerator
from tqdm import tqdm

from ddpm_bench.training.checkpoints import TrainingFolder


class Progress:
    """Times and speed, kept out of metrics.csv. What cannot be written here stops no training."""

    def __init__(
        self, folder: TrainingFolder, step: int, last: int, run: dict[str, Any], quiet: bool
    ) -> None:
        """run: how the job is run, for whoever reads the speed later."""
        self._file = None
        self._trackers: Accelerator | None = None
        if not quiet:
            self._file = (folder.path / "progress.jsonl").open("a", encoding="utf-8")
            folder.publish_progress()
        self._bar = tqdm(
            total=last,
            initial=step,
            desc=f"train {folder.experiment_folder.name}",
            unit="step",
            disable=quiet,
            mininterval=1.0,
            dynamic_ncols=True,
        )
        self._since = time.monotonic()
        if step and not quiet:
            self._bar.write(f"going on from the saved state of step {step}", file=sys.stderr)
        self.log("resumed" if step else "started", step, run=run)

    def track(self, accelerator: Accelerator, name: str, step: int) -> None:
        """Show values to accelerate's trackers too; what they have after `step` is undone."""
        purge = {"tensorboard": {"purge_step": step}}
        accelerator.init_trackers(name, init_kwargs=purge)
        self._trackers = accelerator

    def show(self, step: int, values: dict[str, float], images: int) -> None:
        """values: of the newest row of metrics.csv; images: trained on since the last call."""
        now = time.monotonic()
        speed, self._since = round(images / (now - self._since), 3), now
        with suppress(OSError):  # a terminal that is gone is no reason to stop training
            self._bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
            self._bar.update(step - self._bar.n)
        loss = values["loss"] if math.isfinite(values["loss"]) else None
        self.log("trained", step, loss=loss, images_per_second=speed)
        if self._trackers is not None:
            self._trackers.log({**values, "images_per_second": speed}, step=step)

    def end(self, event: str, step: int, executed: int) -> None:
        with suppress(OSError):
            self._bar.update(step - self._bar.n)
            self._bar.close()
        self.log(event, step, steps_executed=executed)
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def log(self, event: str, step: int, **more: object) -> None:
        if self._file is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with suppress(OSError):  # a full disk stops the training where a state cannot be saved
            self._file.write(json.dumps({"time": now, "event": event, "step": step, **more}) + "\n")
            self._file.flush()
