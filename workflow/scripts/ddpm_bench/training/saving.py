"""Saving and restoring: from a training to its files, and back."""

import sys
from contextlib import suppress

import torch

from ddpm_bench.records.layout import average_name
from ddpm_bench.training.divergence import divergence
from ddpm_bench.training.folder import TrainingFolder
from ddpm_bench.training.metrics import Metrics
from ddpm_bench.training.ownership import Owner
from ddpm_bench.training.progress import Progress
from ddpm_bench.training.publishing import publish_metrics
from ddpm_bench.training.states import TrainingState
from ddpm_bench.training.trainer import Trainer

MOMENTS = ("exp_avg", "exp_avg_sq")


def tensors_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return the tensors of a training's state by their names in it, on the device."""
    tensors = {}
    for name, parameter in trainer.parameters.items():
        tensors[f"model.{name}"] = parameter.detach()
        for key, value in trainer.optimizer.moments(parameter).items():
            tensors[f"{key}.{name}"] = value
    for width, average in trainer.averages.of.items():
        for name, value in average.items():
            tensors[f"{average_name(width)}.{name}"] = value
    return tensors | trainer.objective.state()


def counters_of(trainer: Trainer, metrics: Metrics) -> dict[str, float]:
    """Return the numbers of a training's state by their names in it."""
    return {
        "skipped": metrics.skipped,
        "skipped_in_a_row": metrics.skipped_in_a_row,
        "loss_scale": trainer.optimizer.scale.item(),
        "good_steps": trainer.optimizer.good_steps.item(),
    }


def restore(state: TrainingState, trainer: Trainer, metrics: Metrics) -> None:
    """Set a trainer and its metrics to a saved state."""
    trainer.step, metrics.text = state.step, state.metrics
    metrics.pending_losses = list(state.pending_losses)
    metrics.skipped = int(state.counters["skipped"])
    metrics.skipped_in_a_row = int(state.counters["skipped_in_a_row"])
    trainer.optimizer.scale.fill_(state.counters["loss_scale"])
    trainer.optimizer.good_steps.fill_(state.counters["good_steps"])
    trainer.set_weights({name: state.tensors[f"model.{name}"] for name in trainer.parameters})
    for width, average in trainer.averages.of.items():
        for name, value in average.items():
            value.copy_(state.tensors[f"{average_name(width)}.{name}"])
    for name, parameter in trainer.parameters.items():
        moments = {key: state.tensors[f"{key}.{name}"] for key in MOMENTS}
        trainer.optimizer.restore(parameter, moments, state.step - metrics.skipped)
    trainer.objective.restore(state.tensors, trainer.accelerator.is_main_process)


class Saver:
    """The writer of a training's checkpoints and states.

    owner: the right to write; None in all processes but the first, which write nothing.
    about: the stage's JSON, stored with each checkpoint.
    """

    def __init__(
        self,
        trainer: Trainer,
        metrics: Metrics,
        folder: TrainingFolder,
        owner: Owner | None,
        about: str,
    ) -> None:
        self._trainer, self._metrics = trainer, metrics
        self._folder, self._owner, self._about = folder, owner, about

    def check_room(self, checkpoints: int) -> None:
        """Print the bytes that will be written and those that are free.

        checkpoints: the number of steps whose checkpoints are still to be made. Raises UserError
        when they do not fit.
        """
        if self._owner is None:
            return
        weights = sum(value.nbytes for value in self._trainer.parameters.values())
        averages = len(self._trainer.averages.of)
        # A state holds the weights, their averages and the optimiser's two moments.
        room = self._folder.check_room(checkpoints * averages, weights, (3 + averages) * weights)
        with suppress(OSError):
            print(room, file=sys.stderr)

    def save(self, progress: Progress, *, checkpoint: bool, state: bool) -> None:
        """Save the checkpoint of this step, the state, both or neither; called in all processes.

        Raises DivergedError when too many steps in a row were skipped or a value is not finite,
        and UserError when the disk is full or another trainer has taken over.
        """
        if not (checkpoint or state):
            return
        trainer = self._trainer
        self._metrics.gather(trainer.step)
        trainer.objective.gather(trainer.total, trainer.accelerator.is_main_process)
        if checkpoint:
            self._save_checkpoint()
            progress.log("checkpoint", trainer.step)
        if state:
            self._save_state()
            progress.log("state saved", trainer.step)

    def _save_checkpoint(self) -> None:
        """Write and publish all averages."""
        if self._owner is None:
            return
        self._owner.check()
        step = self._trainer.step
        # The main average last: where it lies, the others do too.
        for width, average in reversed(self._trainer.averages.of.items()):
            self._folder.checkpoints.save(step, self._on_cpu(average), self._about, width)

    def _save_state(self) -> None:
        """Write the state and publish metrics.csv."""
        if self._owner is None:
            return
        self._owner.check()
        trainer, metrics = self._trainer, self._metrics
        tensors, counters = tensors_of(trainer), counters_of(trainer, metrics)
        self._folder.states.save(
            TrainingState(
                trainer.step, self._on_cpu(tensors), metrics.text, metrics.pending_losses, counters
            )
        )
        publish_metrics(self._folder, metrics.text)

    def _on_cpu(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return tensors as they go into a file. Raises DivergedError if a value is not finite."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                what = f"at step {self._trainer.step} {name} has values that are not finite"
                raise divergence(self._trainer.keys, self._folder, what)
        return tensors
