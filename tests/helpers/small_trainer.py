"""A Trainer in the test's own process, on random images: a step takes milliseconds."""

from pathlib import Path

import numpy as np
import torch

from ddpm_bench.config.training import TrainRun, TrainStage
from ddpm_bench.training.accelerator import build_accelerator
from ddpm_bench.training.description import TrainingJob, fingerprint
from ddpm_bench.training.folder import TrainingFolder
from ddpm_bench.training.metrics import Metrics
from ddpm_bench.training.ownership import owning
from ddpm_bench.training.trainer import Trainer

UNET = {"name": "unet", "dim": 8, "dim_mults": [1, 2]}
UNET2D = {
    "name": "unet2d", "block_out_channels": [8, 16], "attention_levels": [1], "norm_num_groups": 4,
}  # fmt: skip


def random_images(count: int = 20, size: int = 8, channels: int = 1) -> np.ndarray:
    """uint8 [N, H, W, C]."""
    return np.random.RandomState(0).randint(0, 256, (count, size, size, channels), np.uint8)


def small_stage(model: dict = UNET, diffusion: dict | None = None, **train) -> TrainStage:
    keys = {"batch_size": 8, "checkpoint_every": 10, "learning_rate": 1e-3, **train}
    what = {"version": 1, "model": model, "train": keys, "diffusion": diffusion or {}}
    return TrainStage.model_validate(what)


def small_trainer(
    folder: Path, stage: TrainStage, images: np.ndarray | None = None, **run
) -> Trainer:
    """A trainer at step 0, which writes nothing."""
    torch.set_num_threads(1)
    how = TrainRun(cpus=1, **run)
    accelerator = build_accelerator(stage.train, how, folder)
    images = random_images() if images is None else images
    trainer = Trainer(stage, how, images, accelerator, folder / "compiled")
    trainer.begin()
    return trainer


def metrics_of(trainer: Trainer, folder: Path) -> Metrics:
    """The metrics of a small trainer, before its first step."""
    return Metrics(trainer.keys, TrainingFolder(folder / "small", "0" * 16), trainer.accelerator)


def run_to_end(folder: Path, stage: TrainStage, last: int = 10, **run) -> TrainingFolder:
    """Run a job with all its files; returns the folder of the training."""
    from ddpm_bench.training.loop import train

    torch.set_num_threads(1)
    about = stage.model_dump_json(exclude_defaults=True)
    job = TrainingJob(0, last, stage, TrainRun(cpus=1, **run), about)
    with owning(folder / "small" / "training") as owner:
        training = TrainingFolder(folder / "small", fingerprint(stage, "images"))
        assert train(job, random_images(), training, owner) == 0
    return training


def weights_after(trainer: Trainer, steps: int) -> dict[str, torch.Tensor]:
    for _ in range(steps):
        trainer.train_one_step()
    return {name: value.detach().clone() for name, value in trainer.parameters.items()}


def difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """The norm of the difference over all weights, relative to the norm of the weights."""
    assert set(ours) == set(theirs)
    with torch.no_grad():
        squares = sum(float(((ours[name] - theirs[name]).double() ** 2).sum()) for name in theirs)
        size = sum(float((value.double() ** 2).sum()) for value in theirs.values())
    return (squares / size) ** 0.5
