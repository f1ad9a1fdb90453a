"""A process of several that train small workloads in every strategy, and note what comes of it.

    python tests/helpers/strategy_runs.py FOLDER PORT,PORT,...      as torchrun starts it

leaves FOLDER/<rank>.json: of each run (`RUNS`) losses, bytes sent in each step, bytes of weights.
"""

import functools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from places import SCRIPTS
from torch import nn

sys.path.insert(0, str(SCRIPTS))

from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.throughput.communication import CountedBytes, communication_share
from ddpm_bench.throughput.measurement import measure
from ddpm_bench.throughput.strategies.build import StrategyTrainer, build_trainer
from ddpm_bench.throughput.strategies.trainers import LossScaler
from ddpm_bench.throughput.workloads.build import build_workload
from ddpm_bench.throughput.workloads.workload import Workload

STEPS = 5
PROCESSES = 2
CPU = torch.device("cpu")
UNET = {"name": "unet", "dim": 8, "dim_mults": [1, 2], "attn_heads": 2, "attn_dim_head": 8}
WIDTH = 64  # of the perceptron
FEATURES, OUTPUTS = 48, 64  # of the regression
SAMPLES = 8  # of a step, over all processes


def stage_of(
    strategy: str, processes: int = 1, samples: int = SAMPLES, precision: str = "fp32", **measuring
) -> CellStage:
    """The keys of a cell with so many samples over all its processes."""
    cell = {
        "model": "small", "strategy": strategy, "precision": precision,
        "batch_size": samples // processes, "processes": processes, "nodes": 1,
    }  # fmt: skip
    keys = {"micro_batches": 2, "learning_rate": 1e-3, "image_size": 8, **measuring}
    what = {"version": 1, "cell": cell, "network": UNET, "measuring": keys}
    return CellStage.model_validate(what)


def with_seed(build: Callable[..., Workload]) -> Callable[..., Workload]:
    """The same weights and data at every call, in every process."""

    @functools.wraps(build)
    def built(samples: int = SAMPLES) -> Workload:
        torch.manual_seed(0)
        return build(samples)

    return built


@with_seed
def perceptron(samples: int) -> Workload:
    """Four layers, each with its own shard."""
    layers = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU()) for _ in range(4)]
    model = nn.Sequential(*layers)
    inputs, targets = torch.randn(2, samples, WIDTH)
    return Workload(model, (inputs,), targets, nn.functional.mse_loss, shards=tuple(layers[:3]))


@with_seed
def wide(samples: int) -> Workload:
    """More than the 25 MB of gradients that DDP puts into a bucket."""
    model = nn.Sequential(*(nn.Linear(1400, 1400) for _ in range(4)))
    inputs, targets = torch.randn(2, samples, 1400)
    return Workload(model, (inputs,), targets, nn.functional.mse_loss)


@with_seed
def normalised(samples: int) -> Workload:
    """Convolutions with BatchNorm, whose output depends on who is in a batch."""
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
        for a, b in ((3, 8), (8, 16), (16, 16))
    ]
    model = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(64, 10))
    model.to(memory_format=torch.channels_last)
    images = torch.randn(samples, 3, 16, 16).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (samples,))
    return Workload(model, (images,), labels, nn.functional.cross_entropy, shards=tuple(blocks))


class Encoder(nn.Module):
    """One layer of attention that is used twice, and an embedding that is also the last layer: the
    weights that ALBERT shares."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.decoder = nn.Linear(16, 20)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.layer(self.layer(self.embedding(tokens)))).flatten(0, 1)


@with_seed
def encoder(samples: int) -> Workload:
    tokens = torch.randint(20, (samples, 6))

    def loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output, targets.flatten())

    return Workload(Encoder(), (tokens,), tokens.roll(1, 1), loss)


@with_seed
def regression(samples: int) -> Workload:
    """Least squares in double precision: its curvature is the same everywhere."""
    model = nn.Sequential(nn.Linear(FEATURES, OUTPUTS)).double()
    inputs = torch.randn(samples, FEATURES, dtype=torch.float64)
    targets = torch.randn(samples, OUTPUTS, dtype=torch.float64)
    return Workload(model, (inputs,), targets, nn.functional.mse_loss)


def unet(samples: int = SAMPLES) -> Workload:
    """The denoising network of experiments."""
    stage = stage_of("single")
    return build_workload(stage.network, stage.measuring, samples, None)


WORKLOADS = {
    build.__name__: build for build in (perceptron, wide, normalised, encoder, regression, unet)
}


@dataclass(frozen=True)
class Run:
    """What some steps of a workload are run with."""

    workload: str
    strategy: str
    precision: str = "fp32"
    optimizer: str = "adam"
    samples: int = SAMPLES
    rank: int = 1  # of PowerSGD
    learning_rate: float = 1e-3

    def stage(self, strategy: str, processes: int) -> CellStage:
        return stage_of(
            strategy,
            processes,
            self.samples,
            self.precision,
            optimizer=self.optimizer,
            powersgd_rank=self.rank,
            learning_rate=self.learning_rate,
        )

    def trainer(self) -> StrategyTrainer:
        """Of this process, one of several."""
        stage = self.stage(self.strategy, PROCESSES)
        return build_trainer(stage, WORKLOADS[self.workload](self.samples), CPU)

    def single(self, micro_batches: int = 1) -> StrategyTrainer:
        """One process that is given all samples of a step."""
        workload = WORKLOADS[self.workload](self.samples)
        return build_trainer(self.stage("single", 1), workload, CPU, micro_batches)


PIPELINES = ("pipeline-gpipe", "pipeline-1f1b")
ACCURATE = [
    *(Run("perceptron", name) for name in ("ddp", "fsdp", *PIPELINES)),
    *(Run("perceptron", name, optimizer="sgd", learning_rate=1.0) for name in ("ddp", "fsdp")),
    Run("perceptron", "pipeline-gpipe", optimizer="sgd", learning_rate=1.0),
    *(Run("unet", name) for name in ("ddp", "fsdp", *PIPELINES)),
    *(Run("encoder", name) for name in ("ddp", "fsdp")),
]
IN_MICRO_BATCHES = [Run("normalised", name) for name in ("ddp", "fsdp", *PIPELINES)]
# A learning rate at which the losses of the regression fall by a third within five steps.
COMPRESSED = [
    Run("regression", name, optimizer="sgd", learning_rate=0.5)
    for name in ("ddp", "ddp-fp16", "powersgd")
]
LOW_RANK = Run("perceptron", "powersgd", samples=2, rank=2)
SEVERAL_BUCKETS = Run("wide", "powersgd", samples=2, rank=2)
SENT = [Run("perceptron", name) for name in ("ddp-fp16", "powersgd")]
LOW_PRECISION = [
    Run("perceptron", name, precision)
    for precision in ("bf16", "fp16")
    for name in ("ddp", "fsdp", "pipeline-gpipe")
]
LOW_PRECISION += [Run("perceptron", "fsdp", "fp16", optimizer="sgd", learning_rate=1.0)]
MEASURED_STRATEGIES = ("ddp", "pipeline-gpipe")
MEASURED = {"warmup_steps": 3, "steps": 4, "seconds": 0.3, "repetitions": 2}
RUNS = [*ACCURATE, *IN_MICRO_BATCHES, *COMPRESSED, LOW_RANK, SEVERAL_BUCKETS, *SENT, *LOW_PRECISION]


def losses(trainer: StrategyTrainer, steps: int = STEPS) -> list[float | None]:
    """Of the steps, in this process."""
    seen = [trainer.step() for _ in range(steps)]
    return [None if loss is None else loss.item() for loss in seen]


def outcome(run: Run) -> dict:
    """Five steps, each with what this process sent in it."""
    trainer = run.trainer()
    seen, sent = [], []
    for _ in range(STEPS):
        with CountedBytes() as counted:
            seen += losses(trainer, 1)
        sent.append(counted.sent)
    return {"losses": seen, "sent": sent, "parameter_bytes": trainer.parameter_bytes}


def scaled_steps() -> dict:
    """Two steps of a weight of this process's own under loss scaling; in the first the gradient of
    the first process is infinite, and finite in all others."""
    weight = nn.Parameter(torch.ones(3))
    scaler = LossScaler(CPU, enabled=True, agreeing=True)
    optimizer = torch.optim.SGD([weight], lr=1.0, fused=True)
    weights, scales = [], [scaler.scale.item()]
    for infinite in (dist.get_rank() == 0, False):
        optimizer.zero_grad()
        scaler.scaled((weight * (float("inf") if infinite else 0.25)).sum()).backward()
        scaler.step(optimizer)
        weights.append(weight.tolist())
        scales.append(scaler.scale.item())
    return {"weights": weights, "scales": scales}


def shares() -> dict:
    """Of the time, what goes into all-reduces for which the second process waits 100 ms."""
    values = torch.ones(1000)

    def step() -> None:
        time.sleep(0.1 if dist.get_rank() == 0 else 0)
        dist.all_reduce(values)

    return {
        "with all-reduces": communication_share(step, 4, CPU),
        "without": communication_share(lambda: time.sleep(0.01), 2, CPU),
    }


def measured(strategy: str, port: str) -> dict | None:
    """What `measure` gives in this process, which meets the others at a port of its own."""
    os.environ["MASTER_PORT"] = port
    measurement = measure(stage_of(strategy, PROCESSES, **MEASURED))
    return None if measurement is None else measurement.model_dump()


def main(folder: Path) -> None:
    *ports, last = sys.argv[2].split(",")
    by_measure = {
        name: measured(name, port) for name, port in zip(MEASURED_STRATEGIES, ports, strict=True)
    }
    torch.set_num_threads(1)
    os.environ["MASTER_PORT"] = last
    dist.init_process_group("gloo")
    try:
        results = {repr(run): outcome(run) for run in RUNS}
        results |= {"scaled steps": scaled_steps(), "shares": shares(), "measured": by_measure}
    finally:
        dist.destroy_process_group()
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(results))


def in_processes(folder: Path) -> list[dict]:
    """Run this program in its processes; returns what each has noted, by rank."""
    ports = ",".join(_free_ports(len(MEASURED_STRATEGIES) + 1))
    common = {"WORLD_SIZE": str(PROCESSES), "LOCAL_WORLD_SIZE": str(PROCESSES)}
    common |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        processes = []
        for rank in map(str, range(PROCESSES)):
            log = stack.enter_context((folder / f"{rank}.log").open("w"))
            process = subprocess.Popen(
                [sys.executable, __file__, folder, ports],
                env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank},
                stdout=log,
                stderr=log,
            )
            stack.callback(process.kill)
            processes.append(process)
        codes = [process.wait(timeout=300) for process in processes]
    logs = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.log")))
    assert codes == [0] * PROCESSES, logs
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(PROCESSES)]


def _free_ports(count: int) -> list[str]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [str(item.getsockname()[1]) for item in sockets]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
