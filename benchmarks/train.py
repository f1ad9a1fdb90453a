#!/usr/bin/env python
"""Training: ours against denoising-diffusion-pytorch's Trainer, or against diffusers' usual loop.

Both sides train the same network on the same photographs, with the same batch size and threads on
the same device. Each is a process of its own that lives as long as the benchmark; they take turns
(A B A B ...), and the one that waits computes nothing. A turn is some steps that are not measured,
then `--steps` steps that are, with the device waited for at both ends.

Ours is what a training job runs: ddpm_bench.training.Trainer and its loop, progress and rows of
metrics.csv included, on images that our own fetching and preparing have made of the photographs.

    --peer trainer     Trainer of denoising-diffusion-pytorch with its defaults: it decodes the
                       photographs at each step, in as many loader processes as the machine has
                       cores; it samples and saves at no step here, and takes no FID.
    --peer diffusers   the unconditional loop that accelerate's users write around UNet2DModel, with
                       averaged weights; photographs are decoded in the training process.
    --peer ours        ours in one process: --processes 2 --peer ours tells what a second one gives.

Where the precisions of the sides differ, the peer runs in ours too, as a third that takes turns.
Ratios are our images per second over the peer's: above 1, ours is faster. Peak memory is that of a
side's process (the largest, where it has several), in MB of 10^6 bytes, without the peer's loader
processes. The time to the first step counts from the start of the process to that step's end.
The last line is one JSON object.
"""

import argparse
import importlib.metadata
import json
import math
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import numpy as np

# Not torch: on Linux a process inherits the peak memory of the one that starts it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))
from ddpm_bench.config.dataset import Folder, PrepareStage
from ddpm_bench.config.training import TrainRun, TrainStage
from ddpm_bench.data import prepare
from ddpm_bench.devices import present_devices
from ddpm_bench.files import write_json
from ddpm_bench.program import UserError, run
from ddpm_bench.sources import fetch

SUFFIXES = ("jpg", "jpeg", "png", "tiff")  # that the Trainer's Dataset reads
FEWEST_IMAGES, FEWEST_PER_STEP = 100, 16  # that the Trainer takes
FEWEST_PAIRS = 5
BEYOND_THE_RUN = 10**9  # steps
SECONDS_TO_LEAVE = 60
MATRIX_SECONDS = 1.0
MOST_LOAD = 0.5  # cores, of other programs


@dataclass(frozen=True)
class Work:
    """What all sides do."""

    images: str
    prepared: str
    folder: str
    image_size: int
    batch_size: int
    network: str
    dim: int
    dim_mults: tuple[int, ...]
    threads: int
    compile: bool | str


@dataclass(frozen=True)
class Side:
    """Who does it, and how."""

    name: str
    program: str
    precision: str
    processes: int = 1


# In the process of a side


class Gate:
    """Lets a training loop take the steps that are asked for on stdin, and wait in between.

    A loop calls `before_step` before each step, so what is measured is the loop as it is.
    """

    def __init__(self, reply) -> None:
        self._reply = reply
        self._steps = self._serve()
        self.about: dict[str, object] = {}  # part of each answer
        self.parts: Callable[[], object] = nullcontext  # measures what a step consists of

    def before_step(self) -> None:
        if next(self._steps, "no more") == "no more":
            raise SystemExit(0)

    def _serve(self) -> Iterator[None]:
        for line in sys.stdin:
            request = json.loads(line)
            for _ in range(request["warm_up"]):
                yield
            with self.parts() if request["parts"] else nullcontext() as parts:
                synchronize()
                began = time.perf_counter()
                for _ in range(request["steps"]):
                    yield
                synchronize()
                seconds = time.perf_counter() - began
            self._answer(seconds=seconds, parts=parts, **self.about)

    def _answer(self, **answer) -> None:
        import torch

        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answer["peak_memory_mb"] = round(rss / 1e6, 1)
        if torch.cuda.is_available():
            answer["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
        self._reply.write(json.dumps(answer) + "\n")
        self._reply.flush()


def synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def describe(network) -> dict[str, object]:
    import torch

    cuda = torch.cuda.is_available()
    return {
        "parameters": sum(value.numel() for value in network.parameters()),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "tf32": cuda and torch.backends.cuda.matmul.allow_tf32,
    }


def train_ours(work: Work, side: Side, gate: Gate) -> None:
    """The training job of the workflow, with a gate before each step."""
    from ddpm_bench.checkpoints import TrainingFolder
    from ddpm_bench.ownership import owning
    from ddpm_bench.training import Job, Trainer

    class GatedTrainer(Trainer):
        def train_one_step(self) -> None:
            gate.before_step()
            super().train_one_step()

    how = TrainRun(
        gpus=side.processes,
        cpus=max(1, work.threads // side.processes),
        compile=work.compile,
        save_seconds=BEYOND_THE_RUN,
    )
    job = Job(0, BEYOND_THE_RUN, our_stage(work, side.precision), how, about="{}")
    images = np.load(Path(work.prepared, "train.npy"), mmap_mode="r", allow_pickle=False)
    experiment = Path(work.folder, side.name)
    with ExitStack() as held:
        owner = None
        if int(os.environ.get("RANK", "0")) == 0:
            owner = held.enter_context(owning(experiment / "training", 10.0))
        folder = TrainingFolder(experiment, "benchmark", owner and owner.check)
        trainer = GatedTrainer(job, images, folder, owner)
        gate.about = describe(trainer.network)
        gate.parts = lambda: parts_of_step(trainer, side.precision)
        trainer.begin_or_go_on(None)
        trainer.run(save_at=set())


def our_stage(work: Work, precision: str) -> TrainStage:
    network = {"name": "unet", "dim": work.dim, "dim_mults": work.dim_mults}
    if work.network == "unet2d":
        network = {"name": "unet2d", **unet2d_keys(work)}
    train = {
        "batch_size": work.batch_size,
        "checkpoint_every": BEYOND_THE_RUN,
        "horizontal_flips": True,  # as both peers do
        "precision": precision,
    }
    return TrainStage.model_validate({"version": 1, "model": network, "train": train})


def unet2d_keys(work: Work) -> dict[str, object]:
    """Attention on the last level but one, as in accelerate's example."""
    return {
        "block_out_channels": [work.dim * multiple for multiple in work.dim_mults],
        "attention_levels": [max(0, len(work.dim_mults) - 2)],
        "norm_num_groups": math.gcd(32, work.dim),
    }


@contextmanager
def parts_of_step(trainer, precision: str) -> Iterator[dict[str, float]]:
    """Fills in the seconds that the parts of our steps take inside the block, and at its end the
    floating point operations of a step and the device's rate in matrix products.

    The device is waited for at both ends of each part: on a GPU they take longer than they do
    when they follow each other unwatched.
    """
    import torch

    from ddpm_bench import training

    seconds: dict[str, float] = defaultdict(float)

    def timed(part: str, function: Callable) -> Callable:
        def call(*arguments, **keywords):
            synchronize()
            began = time.perf_counter()
            result = function(*arguments, **keywords)
            synchronize()
            seconds[part] += time.perf_counter() - began
            return result

        return call

    places = {
        "batch": (trainer, "_share_of_batch"),
        "noise": (training, "step_draws"),  # within the batch
        "loss": (trainer, "_backpropagate"),
        "forward": (trainer, "_predict"),  # within it
        "backward": (torch.Tensor, "backward"),  # within it
        "optimizer": (trainer.optimizer, "step"),
        "averages": (trainer.averages, "update"),
    }
    with ExitStack() as watched:
        for part, (owner, name) in places.items():
            replacement = timed(part, getattr(owner, name))
            watched.enter_context(mock.patch.object(owner, name, replacement))
        yield seconds
    seconds["batch"] -= seconds["noise"]
    seconds["loss"] -= seconds["forward"] + seconds["backward"]
    seconds["step_flop"] = step_flop(trainer)
    seconds["matrix_flop_per_second"] = matrix_rate(precision, trainer.device)


def step_flop(trainer) -> float:
    """Floating point operations of forward and backward pass of one step, in all processes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ddpm_bench.training import Trainer

    counter = FlopCounterMode(display=False)
    # Compiled code would hide its operations.
    with torch.compiler.set_stance("force_eager"), counter:
        Trainer.train_one_step(trainer)  # past the gate
    return counter.get_total_flops() * trainer.processes


def matrix_rate(precision: str, device) -> float:
    """Floating point operations per second of a large matrix product: the best of many."""
    import torch

    size = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    left @ right
    best, until = math.inf, time.perf_counter() + MATRIX_SECONDS
    while time.perf_counter() < until:
        synchronize()
        began = time.perf_counter()
        left @ right
        synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def train_with_trainer(work: Work, side: Side, gate: Gate) -> None:
    """denoising-diffusion-pytorch as its users call it, with a gate before each batch."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet

    network = Unet(dim=work.dim, dim_mults=work.dim_mults)
    trainer = Trainer(
        GaussianDiffusion(network, image_size=work.image_size),
        work.images,
        train_batch_size=work.batch_size,
        train_num_steps=BEYOND_THE_RUN,
        save_and_sample_every=BEYOND_THE_RUN,
        results_folder=str(Path(work.folder, side.name)),
        calculate_fid=False,
        amp=side.precision != "fp32",
        mixed_precision_type=side.precision,
    )
    gate.about = describe(network)
    trainer.dl = gated(trainer.dl, gate)
    trainer.train()


def gated(batches: Iterator, gate: Gate) -> Iterator:
    while True:
        gate.before_step()
        yield next(batches)


def train_with_diffusers(work: Work, side: Side, gate: Gate) -> None:
    """The usual loop around UNet2DModel: what accelerate's unconditional example does."""
    import torch
    from accelerate import Accelerator
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel
    from tqdm import tqdm

    accelerator = Accelerator(mixed_precision="no" if side.precision == "fp32" else side.precision)
    network = peer_unet2d(work)
    average = EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6
    )
    rates = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=100_000)
    loader = torch.utils.data.DataLoader(
        Photographs(work.images, work.image_size), batch_size=work.batch_size, shuffle=True
    )
    network, optimizer, loader, rates = accelerator.prepare(network, optimizer, loader, rates)
    average.to(accelerator.device)
    noising = DDPMScheduler(num_train_timesteps=1000)
    gate.about = describe(network)
    progress = tqdm(total=BEYOND_THE_RUN)
    network.train()
    for images in gated(without_end(loader), gate):
        with accelerator.accumulate(network):
            noise = torch.randn_like(images)
            times = torch.randint(1000, (len(images),), device=images.device)
            prediction = network(noising.add_noise(images, noise, times), times).sample
            loss = torch.nn.functional.mse_loss(prediction.float(), noise.float())
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            rates.step()
            optimizer.zero_grad()
        average.step(network.parameters())
        progress.update(1)
        progress.set_postfix(loss=loss.detach().item(), lr=rates.get_last_lr()[0])


def peer_unet2d(work: Work):
    from diffusers import UNet2DModel

    keys = unet2d_keys(work)
    has_attention = [level in keys["attention_levels"] for level in range(len(work.dim_mults))]
    return UNet2DModel(
        sample_size=work.image_size,
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=keys["block_out_channels"],
        norm_num_groups=keys["norm_num_groups"],
        attention_head_dim=None,
        down_block_types=["AttnDownBlock2D" if has else "DownBlock2D" for has in has_attention],
        up_block_types=["AttnUpBlock2D" if has else "UpBlock2D" for has in has_attention[::-1]],
    )


class Photographs:
    """A dataset of photographs, float32 [C, H, W] in [-1, 1], mirrored by chance."""

    def __init__(self, folder: str, size: int) -> None:
        import torch
        from torchvision.transforms import v2

        self.files = photographs(Path(folder))
        self.transform = v2.Compose(
            [
                v2.Resize(size),
                v2.CenterCrop(size),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5], [0.5]),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        from PIL import Image

        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB"))


def without_end(loader) -> Iterator:
    while True:
        yield from loader


PROGRAMS = {
    "ours": train_ours,
    "trainer": train_with_trainer,
    "diffusers": train_with_diffusers,
}


def serve(text: str) -> None:
    """Be the process of a side, until stdin ends."""
    keys = json.loads(text)
    keys["work"]["dim_mults"] = tuple(keys["work"]["dim_mults"])
    reply = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    side = Side(**keys["side"])
    PROGRAMS[side.program](Work(**keys["work"]), side, Gate(reply))


# In the benchmark's own process


class Running:
    """A side at work: its processes, which are asked all the same things."""

    def __init__(self, side: Side, work: Work) -> None:
        self.side, self._work = side, work
        self._log = Path(work.folder, f"{side.name}.log")
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> "Running":
        began = time.perf_counter()
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        keys = json.dumps({"work": asdict(self._work), "side": asdict(self.side)})
        command = [sys.executable, __file__, "--serve", keys]
        with self._log.open("wb") as log:
            for rank in range(self.side.processes):
                self._processes.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        env=self._environment(rank, port),
                    )
                )
        self.first = self.ask(warm_up=1, steps=0)
        self.seconds_to_first_step = time.perf_counter() - began
        return self

    def _environment(self, rank: int, port: int) -> dict[str, str]:
        count = self.side.processes
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(max(1, self._work.threads // count)),
        }
        if count > 1:  # as torchrun sets them
            ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}
            ranks |= {"LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
            environment |= {name: str(value) for name, value in ranks.items()}
            environment["MASTER_ADDR"] = "localhost"
        return environment

    def ask(self, warm_up: int, steps: int, parts: bool = False) -> dict:
        """Let it train; returns its answer, the largest figures of all its processes."""
        request = json.dumps({"warm_up": warm_up, "steps": steps, "parts": parts}) + "\n"
        for process in self._processes:
            try:
                process.stdin.write(request.encode())
                process.stdin.flush()
            except BrokenPipeError:
                raise self._failure() from None
        answers = [process.stdout.readline() for process in self._processes]
        if not all(answers):
            raise self._failure()
        first, *others = map(json.loads, answers)
        for name in ("seconds", "peak_memory_mb", "peak_gpu_memory_mb"):
            if name in first:
                first[name] = max(answer[name] for answer in (first, *others))
        return first

    def images_per_second(self, warm_up: int, steps: int) -> float:
        self.last = self.ask(warm_up, steps)
        return steps * self._work.batch_size / self.last["seconds"]

    def _failure(self) -> UserError:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        said = "\n".join(lines[-15:])
        return UserError(f"the process of {self.side.name} ({self.side.program}) ended:\n{said}")

    def __exit__(self, *exception) -> None:
        for process in self._processes:
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(SECONDS_TO_LEAVE if exception[0] is None else 1)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cores = len(os.sched_getaffinity(0))
    precisions = ("fp32", "bf16")
    steps = 200 if present_devices() else 20
    add = options.add_argument
    add("--images", type=Path, required=True, help="folder of photographs")
    add("--precision", choices=precisions, default="bf16", help="ours (bf16)")
    add("--peer", choices=sorted(PROGRAMS), default="trainer", help="whom with (trainer)")
    add("--peer-precision", choices=precisions, help="the peer's (fp32, its default)")
    add("--image-size", type=int, default=32, help="pixels (32)")
    add("--batch-size", type=int, default=16, help="images per step, over all processes (16)")
    add("--dim", type=int, default=32, help="channels of the first level (32)")
    add("--dim-mults", type=int, nargs="+", default=[1, 2, 4], help="of each level (1 2 4)")
    add("--pairs", type=int, default=5, help=f"turns of each side, at least {FEWEST_PAIRS} (5)")
    add("--steps", type=int, default=steps, help=f"measured in each turn ({steps} here)")
    add(
        "--warm-up",
        type=int,
        default=2 * (os.cpu_count() or 1) + 1,
        help="steps before them, at least the batches that the peer may have loaded while it "
        "waited: two of each loader process (one more than these)",
    )
    add("--threads", type=int, default=cores, help=f"of each side, all processes ({cores})")
    add("--processes", type=int, default=1, help="ours, which share the threads (1)")
    add(
        "--compile",
        choices=("auto", "on", "off"),
        default="auto",
        help="torch.compile ours; auto, as the config has it: on GPUs only (auto)",
    )
    add("--profile", action="store_true", help="also what our step consists of, and FLOP/s")
    return options.parse_args()


def photographs(folder: Path) -> list[Path]:
    return sorted(path for suffix in SUFFIXES for path in folder.glob(f"**/*.{suffix}"))


def check(args: argparse.Namespace) -> None:
    """Raises UserError for what could only fail later."""
    for name in ("image_size", "batch_size", "dim", "steps", "threads", "processes"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: must be at least 1")
    if args.pairs < FEWEST_PAIRS:
        raise UserError(f"--pairs {args.pairs}: fewer than {FEWEST_PAIRS} tell too little")
    if args.warm_up < 1:
        raise UserError(f"--warm-up {args.warm_up}: the first step is never measured; at least 1")
    found = len(photographs(args.images))
    fewest, fewest_per_step = (FEWEST_IMAGES, FEWEST_PER_STEP) if args.peer == "trainer" else (1, 1)
    if found < fewest:
        raise UserError(
            f"--images {args.images}: {found} files end in {', '.join(SUFFIXES)}; "
            f"at least {fewest} are needed"
        )
    if args.batch_size < fewest_per_step:
        raise UserError(f"--batch-size {args.batch_size}: the Trainer takes {fewest_per_step} up")
    multiple = 2 ** (len(args.dim_mults) - 1)
    if args.image_size % multiple:
        raise UserError(f"--image-size {args.image_size}: must be a multiple of {multiple}")
    if args.batch_size % args.processes:
        raise UserError(
            f"--processes {args.processes}: must divide the {args.batch_size} images of a step"
        )


def prepared_images(args: argparse.Namespace, folder: Path) -> Path:
    """The folder of the images as our training reads them, made of the photographs."""
    include = [f"**/*.{suffix}" for suffix in SUFFIXES]
    source = Folder(kind="folder", path=str(args.images), include=include)
    write_json(folder / "fetched.json", fetch(source, folder / "unused"))
    stage = PrepareStage(version=1, kind="folder", include=include, image_size=args.image_size)
    prepare(stage, args.threads, folder / "fetched.json", folder / "prepared")
    return folder / "prepared"


def sides_of(args: argparse.Namespace) -> list[Side]:
    usual = args.precision if args.peer == "ours" else "fp32"
    other = args.peer_precision or usual
    sides = [
        Side("ours", "ours", args.precision, args.processes),
        Side("peer", args.peer, other),
    ]
    if other != args.precision:
        sides.append(Side("peer_like_for_like", args.peer, args.precision))
    return sides


def measure(sides: list[Running], args: argparse.Namespace) -> list[dict[str, float]]:
    """Images per second of each side in each round of turns."""
    rounds = []
    for number in range(1, args.pairs + 1):
        speeds = {
            running.side.name: running.images_per_second(args.warm_up, args.steps)
            for running in sides
        }
        rounds.append(speeds)
        text = ", ".join(f"{name} {speed:.1f}" for name, speed in speeds.items())
        print(f"pair {number} of {args.pairs}: {text} images/s", file=sys.stderr, flush=True)
    return rounds


def ratios(rounds: list[dict[str, float]], peer: str) -> dict[str, float]:
    """Of our images per second to the peer's: median, smallest and largest."""
    values = [speeds["ours"] / speeds[peer] for speeds in rounds]
    kinds = {"median": statistics.median, "min": min, "max": max}
    return {kind: round(function(values), 3) for kind, function in kinds.items()}


def compared(sides: list[Running], rounds: list[dict[str, float]]) -> dict[str, object]:
    """What has been measured, under the names of the JSON line."""
    result = {f"ratio_{kind}": value for kind, value in ratios(rounds, "peer").items()}
    for running in sides:
        name = running.side.name
        if name == "peer_like_for_like":
            for kind, value in ratios(rounds, name).items():
                result[f"ratio_like_for_like_{kind}"] = value
        speed = statistics.median(speeds[name] for speeds in rounds)
        result[f"images_per_second_{name}"] = round(speed, 2)
        for figure in ("peak_memory_mb", "peak_gpu_memory_mb"):
            if figure in running.last:
                result[f"{figure}_{name}"] = running.last[figure]
        result[f"precision_{name}"] = running.side.precision
        result[f"processes_{name}"] = running.side.processes
        result[f"seconds_to_first_step_{name}"] = round(running.seconds_to_first_step, 2)
    return result


def profile(ours: Running, args: argparse.Namespace, seconds_per_step: float) -> dict[str, float]:
    """The parts of our step, in milliseconds and as shares, and the FLOP/s that it reaches."""
    answer = ours.ask(args.warm_up, args.steps, parts=True)
    parts = answer["parts"]
    flop, rate = parts.pop("step_flop"), parts.pop("matrix_flop_per_second")
    parts["other"] = answer["seconds"] - sum(parts.values())
    # The loss is noising, its own formula and the release of the graph: of both passes.
    outside = [name for name in parts if name not in ("forward", "loss", "backward", "optimizer")]
    result = {f"ms_{name}": round(1e3 * parts[name] / args.steps, 3) for name in parts}
    result["ms_step_watched"] = round(1e3 * answer["seconds"] / args.steps, 3)
    result["ms_step"] = round(1e3 * seconds_per_step, 3)
    share = sum(parts[name] for name in outside) / answer["seconds"]
    result["share_outside"] = round(share, 4)  # of forward, backward and optimiser
    result["gflop_per_step"] = round(flop / 1e9, 4)
    result["tflop_per_second"] = round(flop / seconds_per_step / 1e12, 4)
    result["tflop_per_second_of_matrix_products"] = round(rate / 1e12, 4)
    return result


def described(sides: list[Running], args: argparse.Namespace, images: int) -> dict[str, object]:
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
        "steps": args.steps,
        "threads": args.threads,
        "compile_ours": args.compile,
        "device": sides[0].first["device"],
        "tf32_ours": sides[0].first["tf32"],
        **{name.replace("-", "_"): importlib.metadata.version(name) for name in packages},
        "machine": f"{cores} cores, {processor()}",
    }


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def print_summary(result: dict[str, object]) -> None:
    for name in ("ours", "peer", "peer_like_for_like"):
        if f"images_per_second_{name}" not in result:
            continue
        print(
            f"{name.replace('_', ' ')}, {result[f'precision_{name}']}: "
            f"{result[f'images_per_second_{name}']} images/s, "
            f"{result[f'peak_memory_mb_{name}']} MB, "
            f"first step after {result[f'seconds_to_first_step_{name}']} s"
        )
    for key, title in (("ratio", "ratio"), ("ratio_like_for_like", "like for like")):
        if f"{key}_median" in result:
            median, low, high = (result[f"{key}_{kind}"] for kind in ("median", "min", "max"))
            print(f"{title}: {median} ({low} to {high})")
    if "share_outside" in result:
        parts = {name: value for name, value in result.items() if name.startswith("ms_")}
        print(", ".join(f"{name.removeprefix('ms_')} {value} ms" for name, value in parts.items()))
        print(f"outside forward, backward and optimizer: {result['share_outside']:.1%}")
        print(
            f"{result['tflop_per_second']} TFLOP/s; matrix products reach "
            f"{result['tflop_per_second_of_matrix_products']}"
        )


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        return serve(sys.argv[2])
    args = arguments()
    check(args)
    load = os.getloadavg()[0]
    if load > MOST_LOAD:
        print(
            f"warning: other programs keep {load:.1f} cores busy (load of the last minute): "
            "threads then wait for each other, and what is measured tells little",
            file=sys.stderr,
        )
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as running:
        work = Work(
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
        sides = [running.enter_context(Running(side, work)) for side in sides_of(args)]
        about = described(sides, args, len(photographs(args.images)))
        rounds = measure(sides, args)
        result = {"benchmark": "train", **compared(sides, rounds), **about}
        result["load_before"] = round(load, 2)
        if args.profile:
            speed = statistics.median(speeds["ours"] for speeds in rounds)
            result |= profile(sides[0], args, args.batch_size / speed)
    print_summary(result)
    print(json.dumps(result))


if __name__ == "__main__":
    run(main)
