"""The rows of metrics.csv: losses, learning rates and gradient norms of a training's steps."""

import math

import torch
from accelerate import Accelerator

from ddpm_bench.config.training import Optimisation
from ddpm_bench.training.divergence import divergence
from ddpm_bench.training.folder import TrainingFolder
from ddpm_bench.training.optimizer import learning_rate

STEPS_PER_ROW = 10
METRICS_HEADER = "step,images_seen,loss,learning_rate,grad_norm,skipped_steps\n"
MOST_SKIPPED_IN_A_ROW = 20


class Metrics:
    """Losses of the steps since the last row of metrics.csv, and the text of all rows so far.

    The losses of a step stay on the device until `gather`, so that no step waits for them.
    `pending_losses` holds those gathered since the last row, None for a skipped step.
    """

    def __init__(
        self, keys: Optimisation, folder: TrainingFolder, accelerator: Accelerator
    ) -> None:
        self._keys, self._folder, self._accelerator = keys, folder, accelerator
        self._on_device: list[torch.Tensor] = []  # loss and norm of each step in this process
        self._grad_norm = math.nan
        self.text = METRICS_HEADER
        self.pending_losses: list[float | None] = []
        self.skipped = self.skipped_in_a_row = 0

    def add(self, loss_and_norm: torch.Tensor) -> None:
        """Add a step's loss in this process and its gradient norm: float32 [2], on the device."""
        self._on_device.append(loss_and_norm)

    def gather(self, step: int) -> None:
        """Turn losses on the devices into means over all processes; called in all of them.

        step: the number of steps so far. Raises DivergedError when too many in a row were skipped.
        """
        if not self._on_device:
            return
        values = torch.stack(self._on_device).double()
        if self._accelerator.num_processes > 1:
            values = self._accelerator.reduce(values, reduction="mean")
        self._on_device = []
        for loss, self._grad_norm in values.tolist():
            skipped = not math.isfinite(self._grad_norm)
            self.pending_losses.append(None if skipped else loss)
            self.skipped += skipped
            self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        if self.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            what = (
                f"the gradients of the last {self.skipped_in_a_row} steps, up to step {step}, "
                "were not finite, and these steps were skipped"
            )
            raise divergence(self._keys, self._folder, what)

    def write_row(self, step: int) -> dict[str, float]:
        """Add a row with the mean loss of the steps since the last one; return its values."""
        self.gather(step)
        losses = [loss for loss in self.pending_losses if loss is not None]
        self.pending_losses = []
        row = {
            "loss": sum(losses) / len(losses) if losses else math.nan,
            "learning_rate": learning_rate(self._keys, step - 1),
            "grad_norm": self._grad_norm,
            "skipped_steps": self.skipped,
        }
        seen = step * self._keys.batch_size
        self.text += ",".join([str(step), str(seen), *map(repr, row.values())]) + "\n"
        return row
