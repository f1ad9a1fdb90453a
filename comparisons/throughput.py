#!/usr/bin/env python
"""Compare a step of the throughput benchmark with that of a plain training loop.

    --strategy single      one process; the loop is plain PyTorch
    --strategy ddp         --processes processes; the loop's model is in DistributedDataParallel

All sides train the same network of torchvision on random images, with fused Adam, at the same batch
size, precision and threads. They share the same processes, started as a cell's are, and take turns:
some steps that are not measured, then `--steps` steps that are, each timed alone. Their order
changes from round to round. A second plain loop has its model and images in channels_last.

Ratios are this project's images per second over the loop's, both at the median step of a turn:
above 1, this project is faster. `ratio_processor_time` compares the processor seconds that the
turns took in the first process, which other programs on the machine influence less. The last line
is one JSON object.
"""

import argparse
import importlib.metadata
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))
from turns import load_before, ratios

from ddpm_bench.cli import run
from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json, write_json
from ddpm_bench.machine.compute_device import gpu_is_usable, round_to_tf32
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.machine.gpu_listing import present_devices
from ddpm_bench.machine.host import processor
from ddpm_bench.machine.launch import Share, die_with_the_launcher, free_port
from ddpm_bench.throughput.cell_processes import LAUNCHER, Launch, run_workers

CLASSES = 10
LEARNING_RATE = 1e-4
LONGEST_MINUTES = 60.0
RESULT = "DDPM_BENCH_RESULT"  # names the path where the first process writes the result
KINDS = ("median", "min", "max")
PRECISIONS = ("fp32", "bf16", "fp16")


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    steps = 50 if present_devices() else 10
    add("--strategy", choices=("single", "ddp"), default="single", help="of all sides (single)")
    add("--processes", type=int, default=1, help="processes of ddp (1)")
    add("--model", choices=("resnet18", "resnet50"), default="resnet18", help="(resnet18)")
    add("--batch-size", type=int, default=32, help="images of a step for each process (32)")
    add("--image-size", type=int, default=32, help="pixels (32)")
    add("--precision", choices=PRECISIONS, default="fp32", help="of all sides (fp32)")
    rounds = "rounds of turns; in multiples of six, all orders are equally frequent (12)"
    add("--pairs", type=int, default=12, help=rounds)
    add("--steps", type=int, default=steps, help=f"steps measured in each turn ({steps})")
    add("--warm-up", type=int, default=2, help="steps before them (2)")
    add("--threads", type=int, default=1, help="threads of each process (1)")
    return options.parse_args()


def check(args: argparse.Namespace) -> None:
    """Raise UserError for options with which the processes would fail."""
    for name in ("processes", "batch_size", "image_size", "pairs", "steps", "warm_up", "threads"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be at least 1")
    if args.strategy == "single" and args.processes > 1:
        raise UserError(f"--processes {args.processes}: single is one process; add --strategy ddp")


def main() -> None:
    """Start the processes and print their result; in one of them, measure."""
    args = arguments()
    if LAUNCHER in os.environ:
        die_with_the_launcher()
        return take_turns(args)
    check(args)
    load = load_before()
    with tempfile.TemporaryDirectory() as folder, lease(args.processes):
        os.environ[RESULT] = str(Path(folder, "result.json"))
        share = Share(meeting_point=f"localhost:{free_port()}")
        outcome = run_workers(
            Launch(
                command=sys.argv,
                processes=args.processes,
                cpus=args.threads,
                minutes=LONGEST_MINUTES,
                folder=Path(folder),
                share=share,
            )
        )
        if outcome.signal is not None:
            sys.exit(128 + outcome.signal)
        if outcome.failure is not None:
            raise UserError(f"a process {outcome.failure.status}: {outcome.failure.reason}")
        result = {**read_json(Path(os.environ[RESULT])), **settings(args, load)}
    for name in ("ours", "peer", "peer_channels_last"):
        print(f"{name.replace('_', ' ')}: {result[f'images_per_second_{name}']} images/s")
    for key in ("ratio", "ratio_channels_last", "ratio_processor_time"):
        if f"{key}_median" in result:
            median, low, high = (result[f"{key}_{kind}"] for kind in KINDS)
            print(f"{key.replace('_', ' ')}: {median} ({low} to {high})")
    print(json.dumps(result))


def settings(args: argparse.Namespace, load: float) -> dict[str, object]:
    """Return the options, versions and machine for the JSON line."""
    cores = len(os.sched_getaffinity(0))
    return {
        "comparison": "throughput",
        **vars(args),
        "load_before": round(load, 2),
        **{name: importlib.metadata.version(name) for name in ("torch", "torchvision")},
        "machine": f"{cores} cores, {processor()}",
    }


def take_turns(args: argparse.Namespace) -> None:
    """Build all sides in this process and let them take turns."""
    import torch
    import torch.distributed as dist

    device = prepared_device(args.threads)
    if args.strategy == "ddp":
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    torch.manual_seed(0)
    sides = {
        "ours": ours(args, device),
        "peer": plain_loop(args, device, torch.contiguous_format),
        "peer_channels_last": plain_loop(args, device, torch.channels_last),
    }
    rounds = [one_round(args, sides, number, device) for number in range(args.pairs)]
    if os.environ["RANK"] == "0":
        write_json(Path(os.environ[RESULT]), measured(rounds, device))
    if dist.is_initialized():
        dist.destroy_process_group()


def prepared_device(threads: int):
    """Set threads, TF32 and cuDNN as a cell does; return this process's GPU, or the CPU."""
    import torch

    torch.set_num_threads(threads)
    if not gpu_is_usable():
        return torch.device("cpu")
    round_to_tf32(True)
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def ours(args: argparse.Namespace, device) -> Callable[[], object]:
    """Return the step function of a measured cell."""
    from ddpm_bench.throughput.strategies.build import build_trainer
    from ddpm_bench.throughput.workloads.build import build_workload

    cell = {"model": args.model, "strategy": args.strategy, "precision": args.precision}
    cell |= {"batch_size": args.batch_size, "processes": args.processes, "nodes": 1}
    measuring = {"image_size": args.image_size, "classes": CLASSES, "learning_rate": LEARNING_RATE}
    what = {"version": 1, "cell": cell, "network": {"name": args.model}, "measuring": measuring}
    stage = CellStage.model_validate(what)
    workload = build_workload(stage.network, stage.measuring, stage.cell.global_batch)
    return build_trainer(stage, workload, device).step


def plain_loop(args: argparse.Namespace, device, layout) -> Callable[[], None]:
    """Return the step function of a loop written after PyTorch's documentation.

    layout: the torch.memory_format of the model and the images.
    """
    import torch
    import torchvision
    from torch.nn.parallel import DistributedDataParallel

    model = torchvision.models.get_model(args.model, weights=None, num_classes=CLASSES)
    model = model.to(device, memory_format=layout)
    if args.strategy == "ddp":
        model = DistributedDataParallel(
            model, device_ids=[device] if device.type == "cuda" else None
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    criterion = torch.nn.CrossEntropyLoss()
    scaler = torch.amp.GradScaler(device.type, enabled=args.precision == "fp16")
    low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(args.precision)
    images = torch.rand(args.batch_size, 3, args.image_size, args.image_size) * 2 - 1
    images = images.to(device, memory_format=layout)
    labels = torch.randint(CLASSES, (args.batch_size,)).to(device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, low) if low else nullcontext():
            loss = criterion(model(images), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


Round = dict[str, float]  # a value for each side


def one_round(
    args: argparse.Namespace, sides: dict[str, Callable], number: int, device
) -> tuple[Round, Round]:
    """Measure one turn of each side.

    Returns images per second at the median step, and images per second of processor time.
    """
    import torch.distributed as dist

    from ddpm_bench.throughput.step_times import milliseconds_of_steps

    orders = list(itertools.permutations(sides))
    images = args.batch_size * args.processes
    speeds, frugalities = {}, {}
    for name in orders[number % len(orders)]:
        for _ in range(args.warm_up):
            sides[name]()
        if dist.is_initialized():
            dist.barrier()
        began = time.process_time()
        times, _ = milliseconds_of_steps(sides[name], args.steps, device)
        frugalities[name] = images * args.steps / (time.process_time() - began)
        speeds[name] = images / statistics.median(times) * 1e3
    if os.environ["RANK"] == "0":
        text = ", ".join(f"{name} {speeds[name]:.1f}" for name in sides)
        print(f"round {number + 1} of {args.pairs}: {text} images/s", file=sys.stderr, flush=True)
    return speeds, frugalities


def measured(rounds: list[tuple[Round, Round]], device) -> dict[str, object]:
    """Return the measured values under their names in the JSON line."""
    import torch

    speeds = [round_speeds for round_speeds, _ in rounds]
    compared = {"ratio": ratios(speeds, "peer")}
    compared["ratio_channels_last"] = ratios(speeds, "peer_channels_last")
    cuda = device.type == "cuda"
    if not cuda:
        compared["ratio_processor_time"] = ratios([frugality for _, frugality in rounds], "peer")
    result = {f"{key}_{kind}": value[kind] for key, value in compared.items() for kind in KINDS}
    for name in ("ours", "peer", "peer_channels_last"):
        speed = statistics.median(of_sides[name] for of_sides in speeds)
        result[f"images_per_second_{name}"] = round(speed, 1)
    return {**result, "device": torch.cuda.get_device_name() if cuda else "cpu"}


if __name__ == "__main__":
    run(main)
