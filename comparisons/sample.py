#!/usr/bin/env python
"""Compare sampling with GaussianDiffusion.sample of denoising-diffusion-pytorch.

Both sides sample from the same network with the same weights in the same number of DDIM steps, with
the same batch size and threads on the same device; a test shows that the same noise gives the same
images. Each side is a process of its own; they take turns (A B A B ...), and the one that waits
computes nothing. A turn is `--batches` batches, from noise to bytes on the CPU.

If this project's side is in bf16, the peer runs in float32, its default, and as a third side in
bf16.

    --demo results   Compare instead, on the last checkpoint of the demo's finished run in this
                     folder, 20 steps of dpmsolver++ with 1,000 of ddpm, and the FID of both
                     (features of the demo's classifier, against its training images). Both are
                     this project's samplers, in one process; they take turns, a batch each.

Ratios are this project's images per second over the peer's: above 1, this project is faster. Peak
memory is that of a side's process, in MB of 10^6 bytes. The last line is one JSON object.
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

# No torch here: on Linux a process inherits the peak memory of the one that starts it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))
from sample_sides import Sampling
from turns import Running, Side, Turn, compared, in_turns, load_before, print_speeds, started

from ddpm_bench.cli import local_path, run
from ddpm_bench.errors import UserError
from ddpm_bench.machine.host import processor

FEWEST_PAIRS = 3


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    add = options.add_argument
    precisions = ("fp32", "bf16")
    add("--precision", choices=precisions, default="bf16", help="of this project's side (bf16)")
    add("--image-size", type=int, default=32, help="pixels (32)")
    add("--batch-size", type=int, default=64, help="images (64)")
    add("--dim", type=int, default=32, help="channels of the first level (32)")
    add("--dim-mults", type=int, nargs="+", default=[1, 2, 4], help="of each level (1 2 4)")
    add("--sampling-steps", type=int, default=50, help="DDIM steps for an image (50)")
    add("--pairs", type=int, default=5, help=f"turns of each side, at least {FEWEST_PAIRS} (5)")
    add("--batches", type=int, default=1, help="batches measured in each turn (1)")
    add("--threads", type=int, default=cores, help=f"threads of each side ({cores})")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if any")
    add(
        "--profile",
        action="store_true",
        help="also measure the shares of this project's time in drawing noise and on the GPU",
    )
    add(
        "--demo",
        type=local_path,
        metavar="RESULTS",
        help="results folder of the demo's finished run",
    )
    return options.parse_args()


def check(args: argparse.Namespace) -> None:
    """Raise UserError for options with which a side would fail."""
    names = ("image_size", "batch_size", "dim", "sampling_steps", "batches", "threads")
    for name in names:
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be at least 1")
    if args.pairs < FEWEST_PAIRS:
        raise UserError(f"--pairs {args.pairs}: must be at least {FEWEST_PAIRS}")
    multiple = 2 ** (len(args.dim_mults) - 1)
    if args.image_size % multiple:
        raise UserError(f"--image-size {args.image_size}: must be a multiple of {multiple}")


def sides_of(precision: str) -> list[Side]:
    """Return the sides to compare."""
    sides = [Side("ours", "ours", precision), Side("peer", "package", "fp32")]
    if precision != "fp32":
        sides.append(Side("peer_like_for_like", "package", precision))
    return sides


def profile(ours: Running, batches: int, seconds_per_batch: float) -> dict[str, float]:
    """Return the shares of this project's time that it draws noise and that kernels run."""
    parts = ours.ask(0, batches, parts=True)["parts"]
    shares = {name: round(value / batches / seconds_per_batch, 4) for name, value in parts.items()}
    names = {"noise_seconds": "share_noise", "kernel_seconds": "share_in_kernels"}
    return {names[name]: share for name, share in shares.items()}


def settings(sides: list[Running], args: argparse.Namespace) -> dict[str, object]:
    """Return the options, versions and machine for the JSON line."""
    packages = ("torch", "denoising-diffusion-pytorch", "diffusers")
    cores = len(os.sched_getaffinity(0))
    names = ("image_size", "batch_size", "dim", "dim_mults", "sampling_steps", "pairs", "batches")
    return {
        "peer": "GaussianDiffusion.sample",
        **{name: getattr(args, name) for name in (*names, "threads")},
        "parameters": sides[0].first["parameters"],
        "device": sides[0].first["device"],
        **{name.replace("-", "_"): importlib.metadata.version(name) for name in packages},
        "machine": f"{cores} cores, {processor()}",
    }


def main() -> None:
    """Run the comparison and print its result."""
    args = arguments()
    check(args)
    load = load_before()
    if args.demo:
        from sample_demo import compare_on_the_demo

        result = compare_on_the_demo(args.demo, args.threads)
    else:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
            names = ("image_size", "batch_size", "dim", "sampling_steps", "threads", "device")
            work = Sampling(
                folder=folder,
                dim_mults=tuple(args.dim_mults),
                **{name: getattr(args, name) for name in names},
            )
            command = [sys.executable, str(Path(__file__).with_name("sample_sides.py"))]
            sides = [Running(side, work, command) for side in sides_of(args.precision)]
            sides = started(sides, running)
            rounds = in_turns(sides, args.pairs, [Turn(0, args.batches)] * len(sides))
            result = {**compared(sides, rounds), **settings(sides, args)}
            if args.profile:
                speed = statistics.median(speeds["ours"] for speeds in rounds)
                result |= profile(sides[0], args.batches, args.batch_size / speed)
        print_speeds(result)
    print(json.dumps({"comparison": "sample", **result, "load_before": round(load, 2)}))


if __name__ == "__main__":
    run(main)
