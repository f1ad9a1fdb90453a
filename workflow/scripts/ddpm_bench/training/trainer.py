"""A network in training, and one step of it: from a batch to new weights and averages."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from ddpm_bench.config.training import TrainRun, TrainStage, unfit_micro_batch
from ddpm_bench.errors import UserError
from ddpm_bench.models.denoiser import recompute_activations
from ddpm_bench.models.dropout import dropout_position
from ddpm_bench.models.fast_layers import compute_for_cpu, in_channels_last
from ddpm_bench.training.accelerator import compiling_is_asked_for, keep_compiled_code
from ddpm_bench.training.batches import Batches
from ddpm_bench.training.ema import Averages
from ddpm_bench.training.initial_weights import given_weights
from ddpm_bench.training.objectives import objective_of
from ddpm_bench.training.optimizer import Optimizer

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Trainer:
    """A network, its averages and its optimiser, and the number of steps they were trained for.

    images: uint8 [N, H, W, C], or latents float32 [N, h, w, c]; compiled: the folder in which
    torch.compile keeps its code. Raises UserError when the micro-batch does not divide this
    process's share of a batch.
    """

    def __init__(
        self,
        stage: TrainStage,
        run: TrainRun,
        images: np.ndarray,
        accelerator: Accelerator,
        compiled: Path,
    ) -> None:
        self.keys = keys = stage.train
        self.accelerator, self.device = accelerator, accelerator.device
        count = keys.batch_size // accelerator.num_processes
        first = accelerator.process_index * count
        self.share = slice(first, first + count)  # of each batch, that this process trains on
        self.micro_batch_size = run.micro_batch_size or count
        if count % self.micro_batch_size:
            raise UserError(unfit_micro_batch(self.micro_batch_size, count))
        self.batches = Batches(images, keys, self.device)

        # Build the network, its averages and the optimiser.
        self.objective = objective_of(stage, images.shape[3], self.device)
        self.network = _accelerated(self.objective.network, run, self.device, compiled)
        self.parameters = dict(self.objective.network.named_parameters())
        # DDP calls the compiled network, so torch cuts its graph where a bucket of gradients is
        # full (DDPOptimizer), and sends each bucket while the backward pass goes on.
        self.model = accelerator.prepare_model(self.network)
        self.dropout_position = dropout_position(self.network)
        self.averages = Averages(
            self.parameters, keys.ema_decay, keys.ema_sigma_rels, keys.ema_warmup
        )
        self.optimizer = Optimizer(keys, self.parameters.values(), self.device)
        self.step = 0

    def begin(self) -> None:
        """Begin at step 0, with the weights that were drawn or those that the keys name."""
        if self.keys.init_from is None:
            self._between_steps()
            return
        self.set_weights(given_weights(self.keys.init_from, self.parameters))
        for average in self.averages.of.values():
            for name, value in average.items():
                value.copy_(self.parameters[name].detach())

    def set_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Copy weights, by the names of the parameters, into the network."""
        for name, parameter in self.parameters.items():
            parameter.data.copy_(weights[name])

    def train_one_step(self) -> torch.Tensor:
        """Take one optimiser step on this process's share of the global batch.

        Returns the mean loss of the share and the gradients' norm: float32 [2], on the device.
        """
        loss = self._backpropagate(*self._share_of_batch())
        norm = self.optimizer.step(self.step)
        self.step += 1
        self.averages.update(self.step)
        loss_and_norm = torch.stack((loss, norm))
        self._between_steps()
        return loss_and_norm

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes; called in all of them."""
        several = self.accelerator.num_processes > 1
        return self.accelerator.reduce(value, reduction="sum") if several else value

    def _between_steps(self) -> None:
        """Let the objective change the network between two steps."""
        self.objective.between_steps(
            self.step,
            lambda count: self.batches.part(self.step, slice(count)),
            self.averages,
            self.total,
        )

    def _share_of_batch(self) -> tuple[torch.Tensor, ...]:
        """Return this process's images of the next batch and the objective's draws for them.

        Images are float32 [n, C, H, W], draws tensors [n, ...].
        """
        images = self.batches.part(self.step, self.share)
        draws = self.objective.draws(self.step, (self.keys.batch_size, *images.shape[1:]))
        return images, *(draw[self.share] for draw in draws)

    def _backpropagate(self, images: torch.Tensor, *draws: torch.Tensor) -> torch.Tensor:
        """Run forward and backward pass of the share of a batch, one micro-batch at a time.

        Gradients are averaged over processes at the last. Returns the mean loss of the share.
        """
        starts = range(0, len(images), self.micro_batch_size)
        total = torch.zeros((), device=self.device)
        for start in starts:
            part = slice(start, start + self.micro_batch_size)
            self.dropout_position.seek(self.keys.seed, self.step, self.share.start + start)
            with nullcontext() if start == starts[-1] else self.accelerator.no_sync(self.model):
                drawn = (draw[part] for draw in draws)
                loss = self.objective.loss(
                    self.step, self._predict, self._estimate, images[part], *drawn
                )
                loss = loss / len(starts)
                (loss * self.optimizer.scale).backward()
            total += loss.detach()
        return total

    def _predict(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Run the network as it is trained, at the precision of the keys."""
        with self._autocast():
            return self.model(*inputs)

    def _estimate(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Run the network, without its wrapper for several processes, at the same precision."""
        # An autocast of its own: weights cast without gradients must not be used with them.
        with self._autocast():
            return self.network(*inputs)

    def _autocast(self) -> torch.autocast:
        dtype = AUTOCAST.get(self.keys.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)


def _accelerated(
    network: nn.Module, run: TrainRun, device: torch.device, compiled: Path
) -> nn.Module:
    """Return a network on its device, laid out and computed as is fastest there.

    Its parameters stay those of `network`.
    """
    in_channels_last(network.to(device))
    compiles = compiling_is_asked_for(run, device)
    if device.type == "cpu" and not compiles:
        compute_for_cpu(network)
    if run.activation_checkpointing:
        recompute_activations(network)
    if compiles:
        keep_compiled_code(compiled)
        return torch.compile(network)
    return network
