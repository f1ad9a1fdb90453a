"""Measurement of one cell of the throughput benchmark, in each of the cell's processes."""

import math
import os
import statistics
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist

from ddpm_bench.config.benchmark import CellMeasuring, CellStage, OwnModel
from ddpm_bench.machine.compute_device import check_compiled_code, gpu_is_usable, round_to_tf32
from ddpm_bench.machine.host import usable_cores
from ddpm_bench.machine.process_group import join_process_group
from ddpm_bench.machine.stage_memory import bound_gpu_memory
from ddpm_bench.records.cell_record import Measurement, Repetition
from ddpm_bench.throughput.communication import CountedBytes, communication_share
from ddpm_bench.throughput.step_times import (
    milliseconds_of_steps,
    peak_memory_bytes,
    reset_peak_memory,
)
from ddpm_bench.throughput.strategies.build import StrategyTrainer, build_trainer
from ddpm_bench.throughput.strategies.trainers import CONTIGUOUS, stays_as_built
from ddpm_bench.throughput.workloads.build import build_workload

PROFILED_STEPS = 3
# Harmless warnings of torch about the project's networks: views that nothing is written into, and,
# where weights are not in channels_last as images are, two names for one layout of 1x1 kernels.
OF_VIEWS = "FSDP2-wrapped module .* returned a view"
OF_STRIDES = "Grad strides do not match bucket view strides"


def measure(stage: CellStage, images: np.ndarray | None = None) -> Measurement | None:
    """Measure a cell, called in each of its processes with torchrun's environment variables.

    images: uint8 [N, H, W, C] to train on in place of random ones. Returns None in all processes
    but the first. Raises UnsupportedError where the combination cannot be built, and whatever torch
    raises, out-of-memory errors too.
    """
    device = _prepared_device(stage.measuring)
    with warnings.catch_warnings(), _process_group(stage.cell.strategy, device):
        if not isinstance(stage.network, OwnModel):
            warnings.filterwarnings("ignore", OF_VIEWS)
            if stage.cell.strategy in CONTIGUOUS or stays_as_built(stage, device):
                warnings.filterwarnings("ignore", OF_STRIDES)
        return _CellInProcess(stage, images, device).measurement()


def _prepared_device(measuring: CellMeasuring) -> torch.device:
    """Set TF32 and cuDNN as a training does; return this process's GPU, or the CPU.

    The threads are as many as the keys of the cell name, which its record repeats: a training takes
    fewer where OMP_NUM_THREADS is less, and has them sleep on cores that other programs want.
    """
    torch.set_num_threads(usable_cores(measuring.cpus))
    if not gpu_is_usable():
        return torch.device("cpu")
    check_compiled_code()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    round_to_tf32(True)
    torch.backends.cudnn.benchmark = True
    if measuring.memory_mb_per_process is not None:
        bound_gpu_memory(measuring.memory_mb_per_process, device)
    return device


@contextmanager
def _process_group(strategy: str, device: torch.device) -> Iterator[None]:
    """Join the process group of the cell until the block ends.

    All strategies but `single` need a group, of one process if need be.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 and strategy == "single":
        yield
        return
    on_gpu = device.type == "cuda"
    if world == 1:
        backend, store = "nccl" if on_gpu else "gloo", dist.HashStore()
        device_id = device if on_gpu else None
        dist.init_process_group(backend, store=store, rank=0, world_size=1, device_id=device_id)
    else:
        join_process_group(on_gpu, device if on_gpu else None)
    yield
    # After success only: NCCL would wait here for processes that wait for this one, and an
    # exception must reach the launcher, which ends them all.
    dist.destroy_process_group()


class _CellInProcess:
    """One process's part of a cell under measurement."""

    def __init__(self, stage: CellStage, images: np.ndarray | None, device: torch.device) -> None:
        cell = stage.cell
        self._stage, self._measuring, self._device = stage, stage.measuring, device
        self._world = dist.get_world_size() if dist.is_initialized() else 1
        self._is_first = not dist.is_initialized() or dist.get_rank() == 0
        workload = build_workload(stage.network, stage.measuring, cell.global_batch, images)
        self._sample = workload.sample
        self._parameters = sum(parameter.numel() for parameter in workload.model.parameters())
        # The other processes' shares of the workload are freed when this function returns.
        self._trainer: StrategyTrainer = build_trainer(stage, workload, device)

    def measurement(self) -> Measurement | None:
        """Run all repetitions and return their measurement; None in all processes but the first."""
        losses, sent, expected_ms = self._warm_up()
        repetitions = []
        for number in range(1, self._measuring.repetitions + 1):
            repetitions.append(self._repetition(expected_ms))
            expected_ms = repetitions[-1].step_ms_median
            self._print(number, repetitions[-1])
        share = 0.0
        if self._world > 1:
            share = communication_share(self._trainer.step, PROFILED_STEPS, self._device)
        share = self._over_processes(dist.ReduceOp.SUM, share)[0] / self._world
        parameter_bytes = self._by_rank(self._trainer.parameter_bytes)
        if not self._is_first:
            return None
        return Measurement(
            repetitions=tuple(repetitions),
            sample=self._sample,
            memory="GPU, allocated" if self._device.type == "cuda" else "process, resident",
            sent_bytes_per_step=round(sent),
            communication_share=None if math.isnan(share) else share,
            parameters=self._parameters,
            parameter_bytes=parameter_bytes,
            losses=tuple(loss if math.isfinite(loss) else None for loss in losses),
        )

    def _warm_up(self) -> tuple[list[float], float, float]:
        """Run the warm-up steps; return their losses, the bytes sent in the last of them and the
        milliseconds of the one before, both of the process with the most."""
        seen: list[torch.Tensor | None] = []
        count = self._measuring.warmup_steps
        for _ in range(count - 2):
            seen.append(self._trainer.step())
        times, _ = milliseconds_of_steps(lambda: seen.append(self._trainer.step()), 1, self._device)
        with CountedBytes() as counted:
            seen.append(self._trainer.step())
        sent, expected_ms = self._over_processes(dist.ReduceOp.MAX, counted.sent, times[0])
        # All processes have a loss, or only the last of a pipeline has.
        sees = seen[0] is not None
        ours = [loss.item() for loss in seen] if sees else [0.0] * count
        *losses, seeing = self._over_processes(dist.ReduceOp.SUM, *ours, float(sees))
        return [loss / seeing for loss in losses], sent, expected_ms

    def _repetition(self, expected_ms: float) -> Repetition:
        """Run steps until their number and their seconds are enough, in all processes alike.

        expected_ms: of a step, to choose how many to run at a time.
        """
        wanted, least = self._measuring.seconds, self._measuring.steps
        reset_peak_memory(self._device)
        step_ms: list[float] = []
        seconds = 0.0
        while len(step_ms) < least or seconds < wanted:
            # Times are reduced over processes, so that all run the same number of steps.
            missing = math.ceil((wanted - seconds) * 1e3 / expected_ms)
            times, took = self._timed_steps(max(least - len(step_ms), missing, 1))
            step_ms += times
            seconds += took
            expected_ms = statistics.median(step_ms)
        peak = self._over_processes(dist.ReduceOp.MAX, peak_memory_bytes(self._device))[0]
        lower, median, upper = (float(value) for value in np.percentile(step_ms, (25, 50, 75)))
        return Repetition(
            steps=len(step_ms),
            seconds=seconds,
            step_ms_median=median,
            step_ms_q1=lower,
            step_ms_q3=upper,
            samples_per_second=self._stage.cell.global_batch / median * 1e3,
            peak_memory_mb=peak / 1e6,
        )

    def _timed_steps(self, count: int) -> tuple[list[float], float]:
        """Return the milliseconds of each of `count` steps and the seconds of all, both of the
        slowest process."""
        if self._world > 1:
            dist.barrier()
        times, seconds = milliseconds_of_steps(self._trainer.step, count, self._device)
        *times, seconds = self._over_processes(dist.ReduceOp.MAX, *times, seconds)
        return times, seconds

    def _print(self, number: int, measured: Repetition) -> None:
        """Print a line about a repetition, in the first process only."""
        if self._is_first:
            print(
                f"repetition {number} of {self._measuring.repetitions}: {measured.steps} steps, "
                f"{measured.step_ms_median:.4g} ms each, "
                f"{measured.samples_per_second:.4g} {self._sample}s/s",
                file=sys.stderr,
                flush=True,
            )

    def _over_processes(self, operation: dist.ReduceOp, *values: float) -> list[float]:
        """Reduce each value over the processes, in float64."""
        numbers = torch.tensor(values, dtype=torch.float64, device=self._device)
        if self._world > 1:
            dist.all_reduce(numbers, operation)
        return numbers.tolist()

    def _by_rank(self, value: int) -> tuple[int, ...]:
        """Return the value of each process, ordered by rank."""

        rank = dist.get_rank() if dist.is_initialized() else 0
        ours = [value if place == rank else 0 for place in range(self._world)]
        return tuple(int(item) for item in self._over_processes(dist.ReduceOp.SUM, *ours))
