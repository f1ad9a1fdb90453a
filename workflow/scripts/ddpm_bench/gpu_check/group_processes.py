"""Processes of a group: the collectives that this project uses, and some steps of a training."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from ddpm_bench.files import write_json
from ddpm_bench.gpu_check.part import Setting
from ddpm_bench.machine.compute_device import gpu_is_usable
from ddpm_bench.machine.launch import free_port
from ddpm_bench.machine.process_group import LOOPBACK, one_node_environment

if TYPE_CHECKING:
    from ddpm_bench.training.trainer import Trainer

PATIENCE = timedelta(seconds=60)
STEPS = 3
Collective = Callable[[torch.device, int, int], bool]


@dataclass(frozen=True)
class GroupPlan:
    """A group of processes: its name, backend (None for a process alone) and size."""

    name: str
    backend: str | None
    processes: int


def started_group(
    plan: GroupPlan, setting: Setting, images: Path, folder: Path
) -> torch.multiprocessing.ProcessContext:
    """Start the processes of a group; each writes RANK.json and RANK.npy into `folder`.

    images: train.npy.
    """
    arguments = (plan, setting, images, folder, free_port())
    return torch.multiprocessing.spawn(group_process, arguments, nprocs=plan.processes, join=False)


def wait_for(group: torch.multiprocessing.ProcessContext) -> None:
    """Wait for the processes of a group.

    Raises an exception of torch's with the traceback of one that failed; the others are ended.
    """
    while not group.join():
        pass


def group_process(
    rank: int, plan: GroupPlan, setting: Setting, images: Path, folder: Path, port: int
) -> None:
    """Join the group, run its collectives and train; write what was found."""
    torch.set_num_threads(1)
    device = torch.device("cuda", 0) if gpu_is_usable() else torch.device("cpu")
    if plan.backend is not None:
        _join(plan, rank, port)
    trainer = _trainer(setting, images, folder)  # accelerate joins the group here
    collectives = {} if plan.backend is None else _outcomes(device, rank, plan)
    norms, change = _train(trainer)
    report = {
        "device": trainer.device.type,
        "processes": trainer.accelerator.num_processes,
        "collectives": collectives,
        "grad_norms": norms,
    }
    np.save(folder / f"{rank}.npy", change)
    write_json(folder / f"{rank}.json", report)
    if dist.is_initialized():
        dist.destroy_process_group()


def _join(plan: GroupPlan, rank: int, port: int) -> None:
    """Join the group as `join_process_group` does, but with one GPU for all of its processes."""
    os.environ.update(one_node_environment())
    # accelerate takes the GPU of this number, and there is one only.
    os.environ |= {"LOCAL_RANK": "0", "RANK": str(rank), "WORLD_SIZE": str(plan.processes)}
    os.environ |= {"MASTER_ADDR": LOOPBACK, "MASTER_PORT": str(port)}
    store = dist.TCPStore(LOOPBACK, port, plan.processes, is_master=rank == 0, timeout=PATIENCE)
    dist.init_process_group(
        plan.backend,
        store=store,
        rank=rank,
        world_size=plan.processes,
        timeout=PATIENCE,
    )


def _trainer(setting: Setting, images: Path, folder: Path) -> "Trainer":
    """Return this process's part of a training, at step 0."""
    from ddpm_bench.config.training import TrainRun, TrainStage
    from ddpm_bench.training.accelerator import build_accelerator
    from ddpm_bench.training.trainer import Trainer

    keys = {"batch_size": setting.batch_size, "checkpoint_every": STEPS, "learning_rate": 1e-4}
    keys["deterministic"] = True  # float32 without TF32: only the order of sums differs
    what = {"version": 1, "model": setting.model(), "train": keys}
    stage, run = TrainStage.model_validate(what), TrainRun(cpus=1, compile=False)
    accelerator = build_accelerator(stage.train, run, folder)
    data = np.load(images, mmap_mode="r", allow_pickle=False)
    trainer = Trainer(stage, run, data, accelerator, folder / "compiled")
    trainer.begin()
    return trainer


def _train(trainer: "Trainer") -> tuple[list[float], np.ndarray]:
    """Train a few steps as train.py does; return the gradients' norms and the weights' change."""
    before = _weights(trainer.parameters)
    norms = [float(trainer.train_one_step()[1]) for _ in range(STEPS)]
    return norms, _weights(trainer.parameters) - before


def _weights(parameters: dict[str, torch.nn.Parameter]) -> np.ndarray:
    """Return all weights in one array on the CPU, float32 [D]."""
    return torch.cat([value.detach().flatten() for value in parameters.values()]).cpu().numpy()


def _outcomes(device: torch.device, rank: int, plan: GroupPlan) -> dict[str, str]:
    """Run each collective; return "right", "wrong", or the error, by its name."""
    found = {}
    for name, collective in collectives_of(plan).items():
        try:
            found[name] = "right" if collective(device, rank, plan.processes) else "wrong"
        except Exception as error:  # of whatever kind: the others are tried, too
            found[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return found


def collectives_of(plan: GroupPlan) -> dict[str, Collective]:
    """Return the collectives that this project uses with a backend, by name.

    Those of sharded weights are used with NCCL on GPUs only, which gloo need not have for them.
    """
    dtypes = {
        "float64": torch.float64,
        "float32": torch.float32,
        "float16": torch.float16,
        "int64": torch.int64,
    }
    if plan.backend == "nccl":
        dtypes["bfloat16"] = torch.bfloat16
    found: dict[str, Collective] = {
        f"all_reduce of {name}": _all_reduce(dtype) for name, dtype in dtypes.items()
    }
    found |= {
        "all_reduce of maxima": _maximum,
        "broadcast": _broadcast,
        "barrier": _barrier,
        "reduce of accelerate": _accelerate_reduce,
        "broadcast of objects": _objects,
        "votes over gloo beside it": _votes,
    }
    if plan.backend == "nccl":
        found |= {"all_gather": _all_gather, "reduce_scatter": _reduce_scatter}
    return found


def _all_reduce(dtype: torch.dtype) -> Collective:
    """Return the check of a sum over processes: of losses, gradients and counts."""

    def check(device: torch.device, rank: int, world: int) -> bool:
        values = torch.arange(1000, device=device).remainder(16).to(dtype) + rank
        expected = torch.arange(1000).remainder(16).to(dtype) * world + sum(range(world))
        dist.all_reduce(values)
        return torch.equal(values.cpu(), expected)

    return check


def _maximum(device: torch.device, rank: int, world: int) -> bool:
    values = torch.tensor([rank, -rank], dtype=torch.float64, device=device)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return values.tolist() == [world - 1, 0]


def _broadcast(device: torch.device, rank: int, world: int) -> bool:
    values = torch.full((1000,), float(rank + 1), device=device)
    dist.broadcast(values, src=0)
    return bool((values == 1).all())


def _barrier(device: torch.device, rank: int, world: int) -> bool:
    dist.barrier()
    return True


def _accelerate_reduce(device: torch.device, rank: int, world: int) -> bool:
    from accelerate.utils import reduce

    values = torch.full((10,), float(rank + 1), device=device, dtype=torch.float64)
    mean = reduce(values, reduction="mean")
    return mean.tolist() == [(world + 1) / 2] * 10


def _objects(device: torch.device, rank: int, world: int) -> bool:
    from accelerate.utils import broadcast_object_list

    given: list[Any] = [([600, 900], 300) if rank == 0 else None]
    broadcast_object_list(given)
    return given == [([600, 900], 300)]


def _votes(device: torch.device, rank: int, world: int) -> bool:
    votes = torch.tensor([rank == 0, False], dtype=torch.int32)
    group = dist.new_group(backend="gloo")
    work = dist.all_reduce(votes, group=group, async_op=True)
    work.wait()
    dist.barrier(group)
    return votes.tolist() == [1, 0]


def _all_gather(device: torch.device, rank: int, world: int) -> bool:
    gathered = torch.zeros(10 * world, device=device)
    dist.all_gather_into_tensor(gathered, torch.full((10,), float(rank), device=device))
    return gathered.tolist() == [float(other) for other in range(world) for _ in range(10)]


def _reduce_scatter(device: torch.device, rank: int, world: int) -> bool:
    own = torch.zeros(10, device=device)
    dist.reduce_scatter_tensor(own, torch.full((10 * world,), float(rank + 1), device=device))
    return own.tolist() == [world * (world + 1) / 2] * 10
