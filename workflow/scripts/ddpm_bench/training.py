"""The training loop: one job takes an experiment from wherever it stands to the job's last step."""

import json
import math
import os
import shutil
import sys
import sysconfig
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from . import diffusion
from .agreement import Agreement, StopSignal
from .checkpoints import TrainingFolder, TrainingState
from .config.training import TrainRun, TrainStage, nearest_multiples
from .devices import usable_cores
from .model import build_model
from .ownership import Owner
from .program import EXIT_SAVED_AND_STOPPED, UserError
from .randomness import batch_positions, step_draws

STEPS_PER_ROW = 10  # of metrics.csv
METRICS_HEADER = "step,images_seen,loss,learning_rate\n"


@dataclass(frozen=True)
class Job:
    """One piece of a training: after step `first` to step `last`."""

    first: int
    last: int
    stage: TrainStage
    run: TrainRun
    about: str  # the stage's JSON, stored with everything that the job leaves

    def checkpoint_steps(self) -> list[int]:
        every = self.stage.train.checkpoint_every
        return list(range((self.first // every + 1) * every, self.last + 1, every))


def train(job: Job, images: np.ndarray, folder: TrainingFolder, owner: Owner | None) -> int:
    """Train to the job's last step and save its checkpoints; returns the exit status.

    images: uint8 [N, H, W, C], memory-mapped. `owner` is None in all processes but the first: they
    compute and write nothing. Returns 0, or 75 when a signal stopped it after saving.
    """
    missing = [step for step in job.checkpoint_steps() if not folder.checkpoint(step).exists()]
    if not missing:
        return 0
    trainer = Trainer(job, images, folder, owner)
    trainer.go_on_from(folder.latest_state(at_most=missing[0] - 1))
    return trainer.run(save_at=set(missing))


class Trainer:
    """The network, its average, its optimiser, and the step they stand at."""

    def __init__(
        self, job: Job, images: np.ndarray, folder: TrainingFolder, owner: Owner | None
    ) -> None:
        self.job, self.images, self.folder, self.owner = job, images, folder, owner
        keys = job.stage.train
        self.keys = keys
        self.accelerator = accelerator = _accelerator(job)
        self.device = accelerator.device
        self.processes = accelerator.num_processes

        # Build the network, its average and the optimiser.
        _, side, _, channels = images.shape
        network = build_model(job.stage.model, channels, keys.seed)
        network = network.to(self.device, memory_format=torch.channels_last)
        self.schedule = diffusion.build_schedule(job.stage.diffusion, network, side, self.device)
        self.parameters = dict(network.named_parameters())
        self.average = {name: value.detach().clone() for name, value in self.parameters.items()}
        self.optimizer = torch.optim.Adam(
            network.parameters(), lr=keys.learning_rate, betas=keys.adam_betas, fused=True
        )
        if job.run.compile is True or (job.run.compile == "auto" and _compiling_pays(self.device)):
            network = torch.compile(network)
        self.model = accelerator.prepare_model(network)

        # Where the training stands.
        self.step = 0
        self.metrics = METRICS_HEADER
        self.pending_losses: list[float] = []  # known means of the steps since the last row
        self.recent_losses: list[torch.Tensor] = []  # of this process, still on the device

    def go_on_from(self, state: TrainingState | None) -> None:
        """Take over a saved state; None begins at step 0."""
        if state is None:
            return
        self.step, self.metrics = state.step, state.metrics
        self.pending_losses = list(state.pending_losses)
        for name, parameter in self.parameters.items():
            parameter.data.copy_(state.tensors[f"model.{name}"])
            self.average[name].copy_(state.tensors[f"ema.{name}"])
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(state.step), device=self.device),
                # In the parameter's own memory layout, which the fused optimiser relies on.
                "exp_avg": torch.empty_like(parameter).copy_(state.tensors[f"exp_avg.{name}"]),
                "exp_avg_sq": torch.empty_like(parameter).copy_(
                    state.tensors[f"exp_avg_sq.{name}"]
                ),
            }

    def run(self, save_at: set[int]) -> int:
        """Train to the job's last step; checkpoints are saved at the steps `save_at`."""
        job = self.job
        stop = StopSignal()
        agreement = Agreement(self.processes)
        progress = Progress(self.folder, self.step, job.last, quiet=self.owner is None)
        last_save = time.monotonic()
        executed = 0
        while self.step < job.last:
            self._train_one_step()
            executed += 1
            if self.step % STEPS_PER_ROW == 0:
                progress.show(self.step, self._write_row(), self.keys.batch_size * STEPS_PER_ROW)
            due = time.monotonic() - last_save >= job.run.save_seconds
            stopping, saving = agreement.any(stop.arrived, due and self.owner is not None)
            ended = self.step == job.last
            if self.step in save_at or saving or stopping or ended:
                self._gather_losses()
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
        progress.end("job ended" if ended else "stopped by a signal", self.step, executed)
        if not ended and self.owner is not None:
            with suppress(OSError):
                print(
                    f"stopped by a signal; the state of step {self.step} is saved, and the same "
                    "command goes on from it",
                    file=sys.stderr,
                )
        return 0 if ended else EXIT_SAVED_AND_STOPPED

    def _train_one_step(self) -> None:
        """One optimiser step on this process's share of the global batch."""
        keys, accelerator = self.keys, self.accelerator
        share = keys.batch_size // self.processes
        mine = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
        positions = batch_positions(
            keys.seed, self.step * keys.batch_size, keys.batch_size, len(self.images)
        )
        batch = torch.from_numpy(self.images[positions[mine]]).to(self.device, non_blocking=True)
        clean = diffusion.to_model_range(batch)  # channels_last, as the uint8 images lie
        shape = (keys.batch_size, *clean.shape[1:])
        noise, times = step_draws(keys.seed, self.step, shape, self.schedule.timesteps, self.device)
        noise, times = noise[mine], times[mine]

        # Forward and backward, one micro-batch at a time; gradients are averaged at the last.
        micro = self.job.run.micro_batch_size or share
        starts = range(0, share, micro)
        total = torch.zeros((), device=self.device)
        for start in starts:
            part = slice(start, start + micro)
            is_last = start + micro >= share
            with nullcontext() if is_last else accelerator.no_sync(self.model):
                loss = diffusion.loss(
                    self.schedule, self.model, clean[part], times[part], noise[part]
                )
                loss = loss / len(starts)
                accelerator.backward(loss)
            total += loss.detach()

        accelerator.clip_grad_norm_(self.model.parameters(), keys.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._update_average()
        self.recent_losses.append(total)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average of the weights, with a short memory at first.

        The decay is min(ema_decay, (1 + n) / (10 + n)) at step n, the warm-up of TensorFlow's
        ExponentialMovingAverage, so that the random first weights are soon forgotten.
        """
        decay = min(self.keys.ema_decay, (1 + self.step) / (10 + self.step))
        average, current = list(self.average.values()), list(self.parameters.values())
        get_ema_multi_avg_fn(decay)(average, current, None)

    def _gather_losses(self) -> None:
        """Turn losses on the devices into means over all processes. Raises UserError for NaN."""
        if not self.recent_losses:
            return
        losses = torch.stack(self.recent_losses).double()
        if self.processes > 1:
            losses = self.accelerator.reduce(losses, reduction="mean")
        first = self.step - len(self.recent_losses) + 1
        values = losses.tolist()
        self.recent_losses = []
        for step, value in enumerate(values, start=first):
            if not math.isfinite(value):
                raise self._divergence(f"the loss of step {step} is {value}")
        self.pending_losses += values

    def _write_row(self) -> float:
        """A row of metrics.csv with the mean loss of the last steps; returns that mean."""
        self._gather_losses()
        mean = sum(self.pending_losses) / len(self.pending_losses)
        self.pending_losses = []
        seen = self.step * self.keys.batch_size
        self.metrics += f"{self.step},{seen},{mean!r},{self.keys.learning_rate!r}\n"
        return mean

    def _save_checkpoint(self) -> None:
        if self.owner is None:
            return
        self.owner.check()
        weights = self._on_cpu(self.average)
        self.folder.save_checkpoint(self.step, weights, self.job.about)

    def _save_state(self) -> None:
        if self.owner is None:
            return
        self.owner.check()
        tensors = {}
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state[parameter]
            tensors[f"model.{name}"] = parameter.detach()
            tensors[f"ema.{name}"] = self.average[name]
            tensors[f"exp_avg.{name}"] = moments["exp_avg"]
            tensors[f"exp_avg_sq.{name}"] = moments["exp_avg_sq"]
        tensors = self._on_cpu(tensors)
        self.folder.save_state(TrainingState(self.step, tensors, self.metrics, self.pending_losses))
        self.folder.publish_metrics(self.metrics)

    def _on_cpu(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors as they go into a file. Raises UserError if any value is not finite."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise self._divergence(f"at step {self.step} {name} has values that are not finite")
        return tensors

    def _divergence(self, what: str) -> UserError:
        precision = ", or precision fp32" if self.keys.precision != "fp32" else ""
        return UserError(
            f"training of {self.folder.experiment_folder.name} diverged: {what}. "
            f"Try a learning_rate below {self.keys.learning_rate:g}{precision}. "
            f"The states of before are kept in {self.folder.states}"
        )


def _compiling_pays(device: torch.device) -> bool:
    """Whether torch.compile should be used: on GPUs, where Triton finds what it compiles with."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    headers = Path(sysconfig.get_paths()["include"], "Python.h").exists()
    if device.type == "cuda" and not (compiler and headers):
        print("no C compiler or no Python.h: training without torch.compile", file=sys.stderr)
    return device.type == "cuda" and bool(compiler) and headers


def _accelerator(job: Job) -> Accelerator:
    keys = job.stage.train
    torch.set_num_threads(usable_cores(job.run.cpus))
    if keys.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as torch's notes ask for
        torch.use_deterministic_algorithms(True)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="no" if keys.precision == "fp32" else keys.precision,
    )
    if keys.batch_size % accelerator.num_processes:
        nearest = nearest_multiples(keys.batch_size, accelerator.num_processes)
        raise UserError(
            f"train.batch_size = {keys.batch_size} does not divide over "
            f"{accelerator.num_processes} processes; the nearest that do: {nearest}"
        )
    return accelerator


class Progress:
    """A bar for whoever watches, and progress.jsonl: times and speed, kept out of metrics.csv."""

    def __init__(self, folder: TrainingFolder, step: int, last: int, quiet: bool) -> None:
        self._file = None
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
        self.log("resumed" if step else "started", step)

    def show(self, step: int, loss: float, images: int) -> None:
        """`images`: how many were trained on since the last call."""
        now = time.monotonic()
        speed, self._since = images / (now - self._since), now
        self._draw(step, loss)
        self.log("trained", step, loss=loss, images_per_second=round(speed, 3))

    def _draw(self, step: int, loss: float) -> None:
        with suppress(OSError):  # a terminal that is gone is no reason to stop training
            self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            self._bar.update(step - self._bar.n)

    def end(self, event: str, step: int, executed: int) -> None:
        with suppress(OSError):
            self._bar.update(step - self._bar.n)
            self._bar.close()
        self.log(event, step, steps_executed=executed)
        if self._file is not None:
            self._file.close()

    def log(self, event: str, step: int, **more: object) -> None:
        if self._file is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._file.write(json.dumps({"time": now, "event": event, "step": step, **more}) + "\n")
        self._file.flush()
