#!/usr/bin/env python
"""Compare two trainings that share cores with the same trainings whose waiting threads spin.

On both sides this project trains, one process after the other alone, and two at once, each with as
many threads as there are cores. The peer's threads wait as OpenMP has them wait: for milliseconds
they spin, whether or not another program wants their core. This project's do so on idle cores only
(ddpm_bench/machine/shared_cores.py). The sides take turns.

`ratio_together` and `ratio_alone` are this project's images per second over the peer's, medians
over the rounds, for two trainings at once (the sum of both) and for one alone. `ratio_median`,
`ratio_min` and `ratio_max` are those of two at once. The last line is one JSON object.
"""

import argparse
import importlib.metadata
import json
import math
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))
from train_sides import Training
from turns import Running, Side, load_before

from ddpm_bench.cli import run
from ddpm_bench.errors import UserError
from ddpm_bench.machine.host import processor

# As libgomp sets it, so that this project leaves it alone.
SPINNING = {"GOMP_SPINCOUNT": "300000"}
SIDES: dict[str, dict[str, str]] = {"ours": {}, "peer": SPINNING}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    add = options.add_argument
    add("--pairs", type=int, default=3, help="rounds (3)")
    add("--image-size", type=int, default=16, help="pixels (16)")
    add("--batch-size", type=int, default=64, help="images (64)")
    add("--dim", type=int, default=16, help="channels of the first level (16)")
    add("--dim-mults", type=int, nargs="+", default=[1, 2, 4], help="of each level (1 2 4)")
    add("--warm-up", type=float, default=4, help="seconds before each measurement (4)")
    add("--seconds", type=float, default=8, help="seconds of each measurement (8)")
    add("--threads", type=int, default=cores, help=f"threads of each training ({cores})")
    return options.parse_args()


def training(args: argparse.Namespace, folder: str) -> Training:
    """Return the work of each process: a training on random images."""
    shape = (1000, args.image_size, args.image_size, 1)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.save(Path(folder, "train.npy"), images)
    return Training(
        images="",
        prepared=folder,
        folder=folder,
        image_size=args.image_size,
        batch_size=args.batch_size,
        network="unet",
        dim=args.dim,
        dim_mults=tuple(args.dim_mults),
        threads=args.threads,
        compile=False,
    )


def started(name: str, work: Training, running: ExitStack) -> list[Running]:
    """Start the two trainings of a side."""
    command = [sys.executable, str(Path(__file__).with_name("train.py")), "--serve"]
    sides = [Side(f"{name}-{number}", "ours", "fp32") for number in (1, 2)]
    return [running.enter_context(Running(side, work, command, SIDES[name])) for side in sides]


def steps_within(training: Running, seconds: float) -> int:
    """Train for so many seconds, to the end of the last step; return the number of steps."""
    steps, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        training.ask(warm_up=0, steps=1)
        steps += 1
    return steps


def speeds_at_once(trainings: list[Running], args: argparse.Namespace) -> list[float]:
    """Return the images per second of each training, while all of them run.

    A training that is measured goes on until all are: else the last one would run alone.
    """
    measured: list[float] = []

    def measure(training: Running) -> None:
        speed = math.nan
        try:
            steps_within(training, args.warm_up)
            began = time.monotonic()
            steps = steps_within(training, args.seconds)
            speed = steps * args.batch_size / (time.monotonic() - began)
        finally:
            measured.append(speed)
        while len(measured) < len(trainings):
            training.ask(warm_up=0, steps=1)

    with ThreadPoolExecutor() as asking:
        list(asking.map(measure, trainings))
    return measured


def one_round(trainings: list[Running], args: argparse.Namespace) -> dict[str, float]:
    """Return the images per second of one training alone, and of two at once together."""
    return {
        "alone": sum(speeds_at_once(trainings[:1], args)),
        "together": sum(speeds_at_once(trainings, args)),
    }


def summarised(rounds: list[dict[str, dict[str, float]]]) -> dict[str, float]:
    """Return the ratios and speeds for the JSON line."""
    result: dict[str, float] = {}
    for kind in ("together", "alone"):
        ratios = [speeds["ours"][kind] / speeds["peer"][kind] for speeds in rounds]
        result[f"ratio_{kind}"] = round(statistics.median(ratios), 3)
        result[f"ratio_{kind}_min"] = round(min(ratios), 3)
        result[f"ratio_{kind}_max"] = round(max(ratios), 3)
        for name in SIDES:
            speed = statistics.median(speeds[name][kind] for speeds in rounds)
            result[f"images_per_second_{name}_{kind}"] = round(speed, 1)
    names = {"ratio_median": "", "ratio_min": "_min", "ratio_max": "_max"}
    return {name: result[f"ratio_together{end}"] for name, end in names.items()} | result


def main() -> None:
    """Run the comparison and print its result."""
    args = arguments()
    for name in ("pairs", "batch_size", "threads"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be at least 1")
    load = load_before()
    rounds = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        work = training(args, folder)
        sides = {name: started(name, work, running) for name in SIDES}
        for number in range(1, args.pairs + 1):
            # Their order changes from round to round.
            turns = sorted(sides.items(), reverse=number % 2 == 0)
            rounds.append({name: one_round(both, args) for name, both in turns})
            text = ", ".join(
                f"{name} {speeds['alone']:.0f} alone and {speeds['together']:.0f} together"
                for name, speeds in sorted(rounds[-1].items())
            )
            print(f"round {number} of {args.pairs}: {text} images/s", file=sys.stderr, flush=True)
    print(
        json.dumps(
            {
                "comparison": "busy",
                "peer": "this project with GOMP_SPINCOUNT=300000, libgomp's default",
                **summarised(rounds),
                **vars(args),
                "precision": "fp32",
                "torch": importlib.metadata.version("torch"),
                "machine": f"{len(os.sched_getaffinity(0))} cores, {processor()}",
                "load_before": round(load, 2),
            }
        )
    )


if __name__ == "__main__":
    run(main)
