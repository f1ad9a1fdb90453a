"""Progress of a training for people: a bar, progress.jsonl, TensorBoard."""

import json
import math
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime

from accelerate import Accelerator
from tqdm import tqdm

from ddpm_bench.records.progress_log import with_line_checksum
from ddpm_bench.training.description import TrainingJob
from ddpm_bench.training.folder import TrainingFolder
from ddpm_bench.training.metrics import STEPS_PER_ROW
from ddpm_bench.training.publishing import publish_progress


class Progress:
    """Times and speeds of a training, kept out of metrics.csv: they differ from run to run.

    An error in writing them stops no training. quiet: show and write nothing, as all processes but
    the first do.
    """

    def __init__(
        self,
        folder: TrainingFolder,
        step: int,
        job: TrainingJob,
        accelerator: Accelerator,
        quiet: bool,
    ) -> None:
        """Begin at `step`. Values after it that accelerate's trackers have are undone."""
        self._file = None
        self._trackers: Accelerator | None = None
        self._first = step
        self._images_per_row = job.stage.train.batch_size * STEPS_PER_ROW
        name = folder.experiment_folder.name
        if not quiet:
            self._file = (folder.path / "progress.jsonl").open("a", encoding="utf-8")
            publish_progress(folder)
        self._bar = tqdm(
            total=job.last,
            initial=step,
            desc=f"train {name}",
            unit="step",
            disable=quiet,
            mininterval=1.0,
            dynamic_ncols=True,
        )
        self._since = time.monotonic()
        if step and not quiet:
            self._bar.write(f"going on from the saved state of step {step}", file=sys.stderr)
        run = job.run.model_dump(mode="json", exclude_defaults=True)  # for readers of the speed
        self.log("resumed" if step else "started", step, run=run)
        if job.run.tracker is not None:
            accelerator.init_trackers(name, init_kwargs={"tensorboard": {"purge_step": step}})
            self._trackers = accelerator

    def show(self, step: int, row: dict[str, float]) -> None:
        """Show the newest row of metrics.csv, and the speed since the one before."""
        now = time.monotonic()
        speed, self._since = round(self._images_per_row / (now - self._since), 3), now
        with suppress(OSError):  # a terminal that is gone is no reason to stop training
            self._bar.set_postfix(loss=f"{row['loss']:.4f}", refresh=False)
            self._bar.update(step - self._bar.n)
        loss = row["loss"] if math.isfinite(row["loss"]) else None
        self.log("trained", step, loss=loss, images_per_second=speed)
        if self._trackers is not None:
            self._trackers.log({**row, "images_per_second": speed}, step=step)

    def end(self, step: int, stopped: str | None) -> None:
        """Close the bar and the file. stopped: why it ended before the job's last step, or None."""
        with suppress(OSError):
            self._bar.update(step - self._bar.n)
            self._bar.close()
        self.log(stopped or "job ended", step, steps_executed=step - self._first)
        if self._file is None:
            return
        with suppress(OSError):
            self._file.close()
        if stopped is not None:
            with suppress(OSError):
                print(
                    f"{stopped}; the state of step {step} is saved, and the same command goes on "
                    "from it",
                    file=sys.stderr,
                )

    def log(self, event: str, step: int, **more: object) -> None:
        """Add a line to progress.jsonl: the time, an event at a step, and further values."""
        if self._file is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with suppress(OSError):  # a full disk stops the training where a state cannot be saved
            line = {"time": now, "event": event, "step": step, **more}
            self._file.write(json.dumps(with_line_checksum(line)) + "\n")
            self._file.flush()
