#!/usr/bin/env python
"""Compare training with denoising-diffusion-pytorch's Trainer, or with a usual loop of diffusers.

All sides train the same network on the same photographs, with the same batch size and threads on
the same device. Each is a process of its own that runs as long as the comparison; they take turns
(A B A B ...), and the one that waits computes nothing. A turn is some steps that are not measured,
then `--steps` steps that are, with the device synchronised at both ends.

This project's side is what a training job runs: ddpm_bench.training.loop.train, with
progress and rows of metrics.csv, on images that the workflow's fetching and preparing have
made of the photographs.

    --peer trainer     Trainer of denoising-diffusion-pytorch with its defaults: it decodes the
                       photographs at each step, in as many loader processes as the machine has
                       cores; here it never samples, saves or computes FID.
    --peer diffusers   The unconditional loop that accelerate's users write around UNet2DModel, with
                       averaged weights; photographs are decoded in the training process.
    --peer ours        This project in one process: --processes 2 --peer ours shows what a second
                       process brings.

Where the sides' precisions differ, the peer also runs in this project's, as a third side. With
--peer-compiled its network is compiled too, in this project's precision, as one more side. Ratios
are this project's images per second over the peer's: above 1, this project is faster. Peak memory
is that of a side's process (the largest, where it has several), in MB of 10^6 bytes, without the
peer's loader processes. The time to the first step is from the start of the process to the end of
that step. The last line is one JSON object.
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
from train_sides import PROGRAMS, SUFFIXES, Training, photographs, serve
from turns import Running, Side, Turn, compared, in_turns, load_before, print_speeds, started

from ddpm_bench.cli import local_path, run
from ddpm_bench.config.dataset import Folder, PrepareStage
from ddpm_bench.data.fetching import fetch
from ddpm_bench.data.preparing import prepare
from ddpm_bench.errors import UserError
from ddpm_bench.files import write_json
from ddpm_bench.machine.gpu_listing import present_devices
from ddpm_bench.machine.host import processor

FEWEST_IMAGES, FEWEST_PER_STEP = 100, 16  # minimums of the Trainer
FEWEST_PAIRS = 5


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    precisions = ("fp32", "bf16")
    steps = 200 if present_devices() else 20
    add = options.add_argument
    add("--images", type=local_path, required=True, help="folder of photographs")
    add("--precision", choices=precisions, default="bf16", help="of this project's side (bf16)")
    add("--peer", choices=sorted(PROGRAMS), default="trainer", help="the other side (trainer)")
    add("--peer-precision", choices=precisions, help="of the peer (fp32, its default)")
    add("--image-size", type=int, default=32, help="pixels (32)")
    add("--batch-size", type=int, default=16, help="images per step, over all processes (16)")
    add("--dim", type=int, default=32, help="channels of the first level (32)")
    add("--dim-mults", type=int, nargs="+", default=[1, 2, 4], help="of each level (1 2 4)")
    add("--pairs", type=int, default=5, help=f"turns of each side, at least {FEWEST_PAIRS} (5)")
    add("--steps", type=int, default=steps, help=f"steps measured in each turn ({steps} here)")
    add(
        "--turn-seconds",
        type=float,
        help="duration of each turn, from which the steps before and in it follow, instead of "
        "--warm-up and --steps",
    )
    add(
        "--warm-up",
        type=int,
        default=2 * (os.cpu_count() or 1) + 1,
        help="steps before them, at least as many as the batches that the peer can load while it "
        "waits, two for each loader process (one more than these)",
    )
    add("--threads", type=int, default=cores, help=f"of each side, all processes ({cores})")
    add("--processes", type=int, default=1, help="of this project; they share the threads (1)")
    add(
        "--compile",
        choices=("auto", "on", "off"),
        default="auto",
        help="use torch.compile in this project; auto, the config's default: on GPUs only (auto)",
    )
    add("--peer-compiled", action="store_true", help="add the Trainer with a compiled network")
    add(
        "--start-together",
        action="store_true",
        help="start all sides at once; their times to the first step then hold each other's work",
    )
    add(
        "--profile",
        action="store_true",
        help="also measure the parts of this project's step, its FLOP/s and the GPU's idle time",
    )
    return options.parse_args()


def check(args: argparse.Namespace) -> None:
    """Raise UserError for options with which a side would fail."""
    for name in ("image_size", "batch_size", "dim", "steps", "threads", "processes"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be at least 1")
    if args.pairs < FEWEST_PAIRS:
        raise UserError(f"--pairs {args.pairs}: must be at least {FEWEST_PAIRS}")
    if args.warm_up < 1:
        raise UserError(
            f"--warm-up {args.warm_up}: must be at least 1, the first step is never measured"
        )
    if args.turn_seconds is not None and args.turn_seconds <= 0:
        raise UserError(f"--turn-seconds {args.turn_seconds:g}: must be above 0")
    if args.peer_compiled and args.peer != "trainer":
        raise UserError(f"--peer-compiled: must go with --peer trainer, not {args.peer}")
    found = len(photographs(args.images))
    fewest, fewest_per_step = (FEWEST_IMAGES, FEWEST_PER_STEP) if args.peer == "trainer" else (1, 1)
    if found < fewest:
        raise UserError(
            f"--images {args.images}: {found} files end in {', '.join(SUFFIXES)}; "
            f"at least {fewest} are needed"
        )
    if args.batch_size < fewest_per_step:
        raise UserError(
            f"--batch-size {args.batch_size}: the Trainer needs at least {fewest_per_step}"
        )
    if args.peer_compiled and found % args.batch_size:
        raise UserError(
            f"--peer-compiled: {found} photographs in batches of {args.batch_size} leave a smaller "
            "one, for which torch.compile would compile again in a turn; remove "
            f"{found % args.batch_size} or choose another --batch-size"
        )
    multiple = 2 ** (len(args.dim_mults) - 1)
    if args.image_size % multiple:
        raise UserError(f"--image-size {args.image_size}: must be a multiple of {multiple}")
    if args.batch_size % args.processes:
        raise UserError(
            f"--processes {args.processes}: must divide the {args.batch_size} images of a step"
        )


def prepared_images(args: argparse.Namespace, folder: Path) -> Path:
    """Fetch and prepare the photographs as the workflow does; return the dataset's folder."""
    include = [f"**/*.{suffix}" for suffix in SUFFIXES]
    source = Folder(kind="folder", path=str(args.images), include=include)
    write_json(folder / "fetched.json", fetch(source, folder / "unused"))
    stage = PrepareStage(version=1, kind="folder", include=include, image_size=args.image_size)
    prepare(stage, args.threads, folder / "fetched.json", folder / "prepared")
    return folder / "prepared"


def sides_of(args: argparse.Namespace) -> list[Side]:
    """Return the sides to compare."""
    usual = args.precision if args.peer == "ours" else "fp32"
    other = args.peer_precision or usual
    sides = [
        Side("ours", "ours", args.precision, args.processes),
        Side("peer", args.peer, other),
    ]
    if other != args.precision:
        sides.append(Side("peer_like_for_like", args.peer, args.precision))
    if args.peer_compiled:
        sides.append(Side("peer_compiled", args.peer, args.precision, compiled=True))
    return sides


def turns_of(sides: list[Running], args: argparse.Namespace) -> list[Turn]:
    """Return the turn of each side."""
    if args.turn_seconds is None:
        return [Turn(args.warm_up, args.steps)] * len(sides)
    return [running.turn_of(args.turn_seconds) for running in sides]


def profile(ours: Running, turn: Turn, seconds_per_step: float) -> dict[str, float]:
    """Return the parts of this project's step, in milliseconds and as shares, and its FLOP/s."""
    answer = ours.ask(turn.warm_up, turn.steps, parts=True)
    parts = answer["parts"]
    flop, rate = parts.pop("step_flop"), parts.pop("matrix_flop_per_second")
    in_kernels = parts.pop("kernel_seconds", None)  # of a step
    parts["other"] = answer["seconds"] - sum(parts.values())
    # "loss" is noising, the formula of the loss and freeing the graph: part of both passes.
    outside = [name for name in parts if name not in ("forward", "loss", "backward", "optimizer")]
    result = {f"ms_{name}": round(1e3 * parts[name] / turn.steps, 3) for name in parts}
    result["ms_step_watched"] = round(1e3 * answer["seconds"] / turn.steps, 3)
    result["ms_step"] = round(1e3 * seconds_per_step, 3)
    share = sum(parts[name] for name in outside) / answer["seconds"]
    result["share_outside"] = round(share, 4)  # outside forward, backward and optimiser
    if in_kernels is not None:
        result["share_in_kernels"] = round(in_kernels / seconds_per_step, 4)
    result["gflop_per_step"] = round(flop / 1e9, 4)
    result["tflop_per_second"] = round(flop / seconds_per_step / 1e12, 4)
    result["tflop_per_second_of_matrix_products"] = round(rate / 1e12, 4)
    return result


def settings(sides: list[Running], args: argparse.Namespace, images: int) -> dict[str, object]:
    """Return the options, versions and machine for the JSON line.

    Raises UserError if the sides' networks have different sizes.
    """
    packages = ("torch", "accelerate", "denoising-diffusion-pytorch", "diffusers")
    cores = len(os.sched_getaffinity(0))
    counts = {running.side.name: running.first["parameters"] for running in sides}
    if len(set(counts.values())) > 1:
        raise UserError(f"the sides' networks differ in their numbers of parameters: {counts}")
    return {
        "peer": args.peer,
        "image_size": args.image_size,
        "batch_size": args.batch_size,
        "dim": args.dim,
        "dim_mults": args.dim_mults,
        "parameters": counts["ours"],
        "images": images,
        "pairs": args.pairs,
        "threads": args.threads,
        "device": sides[0].first["device"],
        "started_together": args.start_together,
        **{
            f"{name}_{running.side.name}": running.first[name]
            for name in ("compiled", "tf32", "tf32_convolutions")
            for running in sides
        },
        **{name.replace("-", "_"): importlib.metadata.version(name) for name in packages},
        "machine": f"{cores} cores, {processor()}",
    }


def print_parts(result: dict[str, object]) -> None:
    """Print the parts of a step, if they were measured."""
    if "share_outside" in result:
        parts = {name: value for name, value in result.items() if name.startswith("ms_")}
        print(", ".join(f"{name.removeprefix('ms_')} {value} ms" for name, value in parts.items()))
        print(f"outside forward, backward and optimizer: {result['share_outside']:.1%}")
        if "share_in_kernels" in result:
            print(f"of a step, kernels run on the GPU for {result['share_in_kernels']:.1%}")
        print(
            f"{result['tflop_per_second']} TFLOP/s; matrix products reach "
            f"{result['tflop_per_second_of_matrix_products']}"
        )


def main() -> None:
    """Run the comparison and print its result; in the process of a side, train."""
    if sys.argv[1:2] == ["--serve"]:
        return serve(sys.argv[2])
    args = arguments()
    check(args)
    load = load_before()
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as running:
        work = Training(
            images=str(args.images.absolute()),
            prepared=str(prepared_images(args, Path(temporary))),
            folder=temporary,
            image_size=args.image_size,
            batch_size=args.batch_size,
            network="unet2d" if args.peer == "diffusers" else "unet",
            dim=args.dim,
            dim_mults=tuple(args.dim_mults),
            threads=args.threads,
            compile={"auto": "auto", "on": True, "off": False}[args.compile],
        )
        command = [sys.executable, __file__, "--serve"]
        sides = [Running(side, work, command) for side in sides_of(args)]
        sides = started(sides, running, args.start_together)
        about = settings(sides, args, len(photographs(args.images)))
        turns = turns_of(sides, args)
        rounds = in_turns(sides, args.pairs, turns)
        result = {"comparison": "train", **compared(sides, rounds), **about}
        for side, turn in zip(sides, turns, strict=True):
            result[f"steps_{side.side.name}"] = turn.steps
        result["load_before"] = round(load, 2)
        if args.profile:
            speed = statistics.median(speeds["ours"] for speeds in rounds)
            result |= profile(sides[0], turns[0], args.batch_size / speed)
    print_speeds(result)
    print_parts(result)
    print(json.dumps(result))


if __name__ == "__main__":
    run(main)
