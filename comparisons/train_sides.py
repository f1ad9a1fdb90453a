"""Sides of the training comparison: this project's training, the Trainer, and a loop of diffusers.

Each trains without end, with a gate before each step. All code of the comparison that depends on
ddpm_bench.training is in this file: starting a training, and the parts of its step.
"""

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

# No torch here: each side imports it in its process, and the comparing process does not need it.
import numpy as np
from turns import Gate, Side, serve_side, synchronize, watching_kernels

from ddpm_bench.config.training import TrainRun, TrainStage


@dataclass(frozen=True)
class Training:
    """Work of all sides of the training comparison."""

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


SUFFIXES = ("jpg", "jpeg", "png", "tiff")  # files that the Trainer's Dataset reads
BEYOND_THE_RUN = 10**7  # steps, or seconds, that no comparison reaches
MATRIX_SECONDS = 1.0
PROFILED_STEPS = 5


def photographs(folder: Path) -> list[Path]:
    """Return the photographs in a folder and its sub-folders, sorted."""
    return sorted(path for suffix in SUFFIXES for path in folder.glob(f"**/*.{suffix}"))


def describe(network, compiled: bool = False) -> dict[str, object]:
    """Return the size of the network, whether it is compiled, and the device, for a gate's
    answers."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "parameters": sum(value.numel() for value in network.parameters()),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "compiled": compiled,
        "tf32": cuda and torch.backends.cuda.matmul.allow_tf32,
        "tf32_convolutions": cuda and torch.backends.cudnn.allow_tf32,
    }


def train_ours(work: Training, side: Side, gate: Gate) -> None:
    """Train as a job of the workflow does, with a gate before each step."""
    import torch

    from ddpm_bench.training import loop
    from ddpm_bench.training.accelerator import compiling_is_asked_for
    from ddpm_bench.training.description import TrainingJob
    from ddpm_bench.training.folder import TrainingFolder
    from ddpm_bench.training.ownership import owning
    from ddpm_bench.training.trainer import Trainer

    class GatedTrainer(Trainer):
        def begin(self) -> None:
            gate.about = describe(self.network, compiling_is_asked_for(how, self.device))
            gate.parts = lambda: parts_of_step(self, side.precision)
            super().begin()

        def train_one_step(self) -> torch.Tensor:
            gate.before_step()
            return super().train_one_step()

    how = TrainRun(
        gpus=side.processes,
        cpus=max(1, work.threads // side.processes),
        compile=work.compile,
        save_seconds=BEYOND_THE_RUN,
    )
    job = TrainingJob(0, BEYOND_THE_RUN, our_stage(work, side.precision), how, about="{}")
    images = np.load(Path(work.prepared, "train.npy"), mmap_mode="r", allow_pickle=False)
    experiment = Path(work.folder, side.name)
    with ExitStack() as held:
        owner = None
        if int(os.environ.get("RANK", "0")) == 0:
            owner = held.enter_context(owning(experiment / "training", 10.0))
        folder = TrainingFolder(experiment, "comparison", owner and owner.check)
        held.enter_context(mock.patch.object(loop, "Trainer", GatedTrainer))
        loop.train(job, images, folder, owner)


def our_stage(work: Training, precision: str) -> TrainStage:
    """Return the keys of the training stage."""
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


def unet2d_keys(work: Training) -> dict[str, object]:
    """Return the keys of a UNet2DModel with attention on the last level but one, as in accelerate's
    example."""
    return {
        "block_out_channels": [work.dim * multiple for multiple in work.dim_mults],
        "attention_levels": [max(0, len(work.dim_mults) - 2)],
        "norm_num_groups": math.gcd(32, work.dim),
    }


@contextmanager
def parts_of_step(trainer, precision: str) -> Iterator[dict[str, float]]:
    """Measure the seconds that the parts of this project's steps take inside the block.

    When the block ends, the floating point operations of a step, the device's rate in matrix
    products and, on a GPU, the seconds of a step's kernels are added. The device is synchronised at
    both ends of each part: on a GPU, parts take longer than they do without it.
    """
    import torch

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
        "noise": (trainer.objective, "draws"),  # within the batch
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
    seconds.update(step_kernels(trainer))
    seconds["step_flop"] = step_flop(trainer)
    seconds["matrix_flop_per_second"] = matrix_rate(precision, trainer.device)


def step_kernels(trainer) -> dict[str, float]:
    """Return the seconds in which kernels run on the GPU in one step; nothing on a CPU."""
    from ddpm_bench.training.trainer import Trainer

    with watching_kernels() as found:
        for _ in range(PROFILED_STEPS):
            Trainer.train_one_step(trainer)  # past the gate
    return {name: seconds / PROFILED_STEPS for name, seconds in found.items()}


def step_flop(trainer) -> float:
    """Return the floating point operations of one step, forward and backward, in all processes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ddpm_bench.training.trainer import Trainer

    counter = FlopCounterMode(display=False)
    # Compiled code would hide its operations.
    with torch.compiler.set_stance("force_eager"), counter:
        Trainer.train_one_step(trainer)  # past the gate
    return counter.get_total_flops() * trainer.accelerator.num_processes


def matrix_rate(precision: str, device) -> float:
    """Return the highest rate, of many trials, of a large matrix product, in operations per
    second."""
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


def train_with_trainer(work: Training, side: Side, gate: Gate) -> None:
    """Train with denoising-diffusion-pytorch as users call it, with a gate before each batch."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet

    network = Unet(dim=work.dim, dim_mults=work.dim_mults)
    if side.compiled:  # in place: names of weights stay, and the copy for averages is not compiled
        network.compile()
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
    gate.about = describe(network, side.compiled)
    trainer.dl = gated(trainer.dl, gate)
    trainer.train()


def gated(batches: Iterator, gate: Gate) -> Iterator:
    """Yield batches, each after the gate has let it pass."""
    while True:
        gate.before_step()
        yield next(batches)


def train_with_diffusers(work: Training, side: Side, gate: Gate) -> None:
    """Train UNet2DModel with the loop of accelerate's unconditional example."""
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


def peer_unet2d(work: Training):
    """Return the UNet2DModel that this project's side trains too."""
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
    """Dataset of photographs, float32 [C, H, W] in [-1, 1], randomly mirrored."""

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
    """Yield the batches of a loader again and again."""
    while True:
        yield from loader


PROGRAMS = {
    "ours": train_ours,
    "trainer": train_with_trainer,
    "diffusers": train_with_diffusers,
}


def serve(text: str) -> None:
    """Run as the process of a side until stdin ends; text: of `turns.Running`."""
    serve_side(text, Training, PROGRAMS)
