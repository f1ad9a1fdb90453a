"""The training loop: one job takes an experiment from wherever it stands to the job's last step."""

import math
import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator

from ddpm_bench.config.training import TrainRun, TrainStage, unfit_micro_batch
from ddpm_bench.errors import EXIT_SAVED_AND_STOPPED, DivergedError, UserError
from ddpm_bench.models import diffusion
from ddpm_bench.models.denoiser import recompute_activations
from ddpm_bench.models.dropout import dropout_position
from ddpm_bench.models.fast_layers import compute_for_cpu, in_channels_last
from ddpm_bench.models.randomness import batch_flips, batch_positions
from ddpm_bench.training.accelerator import (
    build_accelerator,
    compiling_is_asked_for,
    keep_compiled_code,
)
from ddpm_bench.training.checkpoints import TrainingFolder, TrainingState
from ddpm_bench.training.coordination import Agreement, StopSignal, what_is_left
from ddpm_bench.training.ema import Averages
from ddpm_bench.training.initial_weights import given_weights
from ddpm_bench.training.manifests import average_name
from ddpm_bench.training.objectives import objective_of
from ddpm_bench.training.optimizer import Optimizer, learning_rate
from ddpm_bench.training.ownership import Owner
from ddpm_bench.training.progress import Progress

STEPS_PER_ROW = 10  # of metrics.csv
METRICS_HEADER = "step,images_seen,loss,learning_rate,grad_norm,skipped_steps\n"
MOST_SKIPPED_IN_A_ROW = 20
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainingJob:
    """One piece of a training: after step `first` to step `last`."""

    first: int
    last: int
    stage: TrainStage
    run: TrainRun
    about: str  # the stage's JSON, stored with everything that the job leaves

    def checkpoint_steps(self) -> list[int]:
        every = self.stage.train.checkpoint_every
        return list(range((self.first // every + 1) * every, self.last + 1, every))


def train(
    job: TrainingJob,
    images: np.ndarray,
    folder: TrainingFolder,
    owner: Owner | None,
    stop: StopSignal | None = None,
) -> int:
    """Train to the job's last step and save its checkpoints; returns the exit status.

    images: uint8 [N, H, W, C], memory-mapped. `owner` is None in all processes but the first: they
    compute and write nothing. Returns 0, or 75 when it was stopped after saving: by a signal, which
    `stop` then knows, or by a trainer that follows.
    """
    accelerator = build_accelerator(job.stage.train, job.run, folder.path)
    missing, step = what_is_left(
        folder, job.checkpoint_steps(), job.stage.train.ema_sigma_rels, accelerator.is_main_process
    )
    if not missing:
        accelerator.end_training()
        return 0
    trainer = Trainer(job, images, folder, owner, accelerator)
    trainer.begin_or_go_on(None if step is None else folder.state(step))
    return trainer.run(save_at=set(missing), stop=stop)


class Trainer:
    """The network, its averages, its optimiser, and the step they stand at."""

    def __init__(
        self,
        job: TrainingJob,
        images: np.ndarray,
        folder: TrainingFolder,
        owner: Owner | None,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.job, self.images, self.folder, self.owner = job, images, folder, owner
        self.keys = keys = job.stage.train
        if accelerator is None:
            accelerator = build_accelerator(keys, job.run, folder.path)
        self.accelerator = accelerator
        self.device = accelerator.device
        self.processes = accelerator.num_processes
        self.share = keys.batch_size // self.processes  # images of this process in each step
        self.first = accelerator.process_index * self.share  # where they begin in the batch
        self.micro_batch_size = job.run.micro_batch_size or self.share
        if self.share % self.micro_batch_size:
            raise UserError(unfit_micro_batch(self.micro_batch_size, self.share))

        # Build the network, its averages and the optimiser.
        self.objective = objective_of(job.stage, images.shape[3], self.device)
        network = in_channels_last(self.objective.network.to(self.device))
        self.parameters = dict(network.named_parameters())
        compiles = compiling_is_asked_for(job.run, self.device)
        if self.device.type == "cpu" and not compiles:
            compute_for_cpu(network)
        if job.run.activation_checkpointing:
            recompute_activations(network)
        if compiles:
            keep_compiled_code(folder.experiment_folder / "training" / "compiled")
            network = torch.compile(network)
        self.network = network
        self.model = accelerator.prepare_model(network)
        self.place = dropout_position(network)
        self.averages = Averages(self.parameters, keys.ema_decay, keys.ema_sigma_rels)
        self.optimizer = Optimizer(keys, self.parameters.values(), self.device)

        # Where the training stands.
        self.step = 0
        self.metrics = METRICS_HEADER
        self.pending_losses: list[float | None] = []  # of the steps since the last row
        self.skipped = self.skipped_in_a_row = 0
        self.grad_norm = math.nan
        self.recent: list[torch.Tensor] = []  # loss and norm of this process, on the device

    def begin_or_go_on(self, state: TrainingState | None) -> None:
        """Take over a saved state; None begins at step 0."""
        if state is not None:
            self._take_over(state)
        elif self.keys.init_from is not None:
            self._set_weights(given_weights(self.keys.init_from, self.parameters))
            for average in self.averages.of.values():
                for name, value in average.items():
                    value.copy_(self.parameters[name].detach())
        else:
            self._between_steps()

    def _set_weights(self, weights: dict[str, torch.Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.data.copy_(weights[name])

    def _take_over(self, state: TrainingState) -> None:
        self.step, self.metrics = state.step, state.metrics
        self.pending_losses = list(state.pending_losses)
        self.skipped = int(state.counters["skipped"])
        self.skipped_in_a_row = int(state.counters["skipped_in_a_row"])
        self.optimizer.scale.fill_(state.counters["loss_scale"])
        self.optimizer.good_steps.fill_(state.counters["good_steps"])
        self._set_weights({name: state.tensors[f"model.{name}"] for name in self.parameters})
        for width, average in self.averages.of.items():
            for name, value in average.items():
                value.copy_(state.tensors[f"{average_name(width)}.{name}"])
        for name, parameter in self.parameters.items():
            moments = {key: state.tensors[f"{key}.{name}"] for key in ("exp_avg", "exp_avg_sq")}
            self.optimizer.restore(parameter, moments, state.step - self.skipped)
        self.objective.restore(state.tensors, self.accelerator.is_main_process)

    def run(self, save_at: set[int], stop: StopSignal | None = None) -> int:
        """Train to the job's last step; checkpoints are saved at the steps `save_at`."""
        job = self.job
        self._print_room(len(save_at))
        stop = stop or StopSignal()
        stop.listen()
        agreement = Agreement(self.processes)
        how = job.run.model_dump(mode="json", exclude_defaults=True)
        progress = Progress(self.folder, self.step, job.last, how, quiet=self.owner is None)
        if job.run.tracker is not None:
            progress.track(self.accelerator, self.folder.experiment_folder.name, self.step)
        last_save = time.monotonic()
        executed = 0
        while self.step < job.last:
            self.train_one_step()
            executed += 1
            if self.step % STEPS_PER_ROW == 0:
                progress.show(self.step, self._write_row(), self.keys.batch_size * STEPS_PER_ROW)
            due = time.monotonic() - last_save >= job.run.save_seconds
            if due:  # asked once: with several processes the answer comes a step later
                last_save = time.monotonic()
            leave = stop.arrived or (self.owner is not None and self.owner.asked_to_leave)
            stopping, saving = agreement.any(leave, due and self.owner is not None)
            ended = self.step == job.last
            if self.step in save_at or saving or stopping or ended:
                self._gather_losses()
                self.objective.gather(self._total, self.accelerator.is_main_process)
                if self.step in save_at:
                    self._save_checkpoint()
                    progress.log("checkpoint", self.step)
                if saving or stopping or ended:
                    self._save_state()
                    progress.log("state saved", self.step)
                    last_save = time.monotonic()
            if stopping:
                break
        agreement.end()
        self.accelerator.end_training()  # a process group left open can abort the process
        ended = self.step == job.last
        why = "stopped by a signal" if stop.arrived else "stopped for a trainer that follows"
        progress.end("job ended" if ended else why, self.step, executed)
        if not ended and self.owner is not None:
            with suppress(OSError):
                print(
                    f"{why}; the state of step {self.step} is saved, and the same command goes on "
                    "from it",
                    file=sys.stderr,
                )
        return 0 if ended else EXIT_SAVED_AND_STOPPED

    def _print_room(self, checkpoints: int) -> None:
        """Say what will be written and what is free. Raises UserError when it does not fit."""
        if self.owner is None:
            return
        weights = sum(value.nbytes for value in self.parameters.values())
        averages = len(self.averages.of)
        # A state holds the weights, their averages and the optimiser's two moments.
        room = self.folder.check_room(checkpoints * averages, weights, (3 + averages) * weights)
        with suppress(OSError):
            print(room, file=sys.stderr)

    def train_one_step(self) -> None:
        """One optimiser step on this process's share of the global batch."""
        loss = self._backpropagate(*self._share_of_batch())
        norm = self.optimizer.step(self.step)
        self.step += 1
        self.averages.update(self.step)
        self.recent.append(torch.stack((loss, norm)))
        self._between_steps()

    def _between_steps(self) -> None:
        self.objective.between_steps(
            self.step, lambda count: self._images(slice(count)), self.averages, self._total
        )

    def _total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        return self.accelerator.reduce(value, reduction="sum") if self.processes > 1 else value

    def _backpropagate(self, images: torch.Tensor, *draws: torch.Tensor) -> torch.Tensor:
        """Forward and backward pass of a share of a batch, one micro-batch at a time.

        Gradients are averaged over processes at the last. Returns the mean loss of the share.
        """
        starts = range(0, self.share, self.micro_batch_size)
        total = torch.zeros((), device=self.device)
        for start in starts:
            part = slice(start, start + self.micro_batch_size)
            self.place.seek(self.keys.seed, self.step, self.first + start)
            with nullcontext() if start == starts[-1] else self.accelerator.no_sync(self.model):
                drawn = (draw[part] for draw in draws)
                loss = self.objective.loss(
                    self.step, self._predict, self._estimate, images[part], *drawn
                )
                loss = loss / len(starts)
                (loss * self.optimizer.scale).backward()
            total += loss.detach()
        return total

    def _share_of_batch(self) -> tuple[torch.Tensor, ...]:
        """This process's images of the next batch, float32 [n, C, H, W], and what the objective
        draws for them."""
        mine = slice(self.first, self.first + self.share)
        images = self._images(mine)
        draws = self.objective.draws(self.step, (self.keys.batch_size, *images.shape[1:]))
        return images, *(draw[mine] for draw in draws)

    def _images(self, part: slice) -> torch.Tensor:
        """A part of the next global batch: float32 [n, C, H, W], in [-1, 1] or latents."""
        keys, count = self.keys, self.keys.batch_size
        seen = self.step * count
        positions = batch_positions(keys.seed, seen, count, len(self.images))[part]
        levels = self.images[positions]
        if keys.horizontal_flips:
            flipped = batch_flips(keys.seed, seen, count, len(self.images))[part]
            levels[flipped] = levels[flipped, :, ::-1]
        pixels = torch.from_numpy(levels)
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()  # so that the copy does not wait for the step before
        # channels_last, as the arrays lie
        return diffusion.to_model_range(pixels.to(self.device, non_blocking=True))

    def _predict(self, *inputs: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            return self.model(*inputs)

    def _estimate(self, *inputs: torch.Tensor) -> torch.Tensor:
        # An autocast of its own: weights cast without gradients must not be used with them.
        with self._autocast():
            return self.network(*inputs)

    def _autocast(self) -> torch.autocast:
        dtype = AUTOCAST.get(self.keys.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def _gather_losses(self) -> None:
        """Turn losses on the devices into means over all processes.

        Raises UserError when too many steps in a row have been skipped.
        """
        if not self.recent:
            return
        recent = torch.stack(self.recent).double()
        if self.processes > 1:
            recent = self.accelerator.reduce(recent, reduction="mean")
        self.recent = []
        for loss, self.grad_norm in recent.tolist():
            skipped = not math.isfinite(self.grad_norm)
            self.pending_losses.append(None if skipped else loss)
            self.skipped += skipped
            self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        if self.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise self._divergence(
                f"the gradients of the last {self.skipped_in_a_row} steps, up to step {self.step}, "
                "were not finite, and these steps were skipped"
            )

    def _write_row(self) -> dict[str, float]:
        """A row of metrics.csv, with the mean loss of the last steps; returns its values."""
        self._gather_losses()
        losses = [loss for loss in self.pending_losses if loss is not None]
        self.pending_losses = []
        row = {
            "loss": sum(losses) / len(losses) if losses else math.nan,
            "learning_rate": learning_rate(self.keys, self.step - 1),
            "grad_norm": self.grad_norm,
            "skipped_steps": self.skipped,
        }
        seen = self.step * self.keys.batch_size
        self.metrics += ",".join([str(self.step), str(seen), *map(repr, row.values())]) + "\n"
        return row

    def _save_checkpoint(self) -> None:
        if self.owner is None:
            return
        self.owner.check()
        # The main average last: where it lies, the others do too.
        for width, average in reversed(self.averages.of.items()):
            self.folder.save_checkpoint(self.step, self._on_cpu(average), self.job.about, width)

    def _save_state(self) -> None:
        if self.owner is None:
            return
        self.owner.check()
        tensors = {}
        for name, parameter in self.parameters.items():
            tensors[f"model.{name}"] = parameter.detach()
            for key, value in self.optimizer.moments(parameter).items():
                tensors[f"{key}.{name}"] = value
        for width, average in self.averages.of.items():
            for name, value in average.items():
                tensors[f"{average_name(width)}.{name}"] = value
        tensors |= self.objective.state()
        counters = {
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "loss_scale": self.optimizer.scale.item(),
            "good_steps": self.optimizer.good_steps.item(),
        }
        self.folder.save_state(
            TrainingState(
                self.step, self._on_cpu(tensors), self.metrics, self.pending_losses, counters
            )
        )
        self.folder.publish_metrics(self.metrics)

    def _on_cpu(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors as they go into a file. Raises UserError if any value is not finite."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise self._divergence(f"at step {self.step} {name} has values that are not finite")
        return tensors

    def _divergence(self, what: str) -> DivergedError:
        keys = self.keys
        advice = [f"a learning_rate below {keys.learning_rate:g}", "a longer warmup_steps"]
        if keys.max_grad_norm is None:
            advice.append("max_grad_norm 1.0")
        if keys.precision != "fp32":
            advice.append(
                "precision bf16 or fp32" if keys.precision == "fp16" else "precision fp32"
            )
        said = ", or ".join(advice)
        return DivergedError(
            f"training of {self.folder.experiment_folder.name} diverged: {what}. Try {said}. "
            f"The states of before are kept in {self.folder.states}",
            f"{what}; try {said}",
        )
