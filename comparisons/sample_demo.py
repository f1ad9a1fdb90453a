"""Comparison of few steps of dpmsolver++ with many of ddpm, on the demo's trained model."""

import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

from ddpm_bench.config.experiment import Config
from ddpm_bench.config.loading import read_config
from ddpm_bench.config.sampling import Drawing, SampleStage
from ddpm_bench.errors import UserError
from ddpm_bench.machine.compute_device import gpu_is_usable, round_to_tf32
from ddpm_bench.models.diffusion import to_unit_range
from ddpm_bench.planning import jobs, stages
from ddpm_bench.sampling.sampler import Sampler, device_name
from ddpm_bench.scoring.features.classifier import ClassifierNetwork, read_classifier
from ddpm_bench.training.manifests import load_checkpoint

CONFIG = Path(__file__).resolve().parents[1] / "config" / "config.yaml"
DATASET, EXPERIMENT, SAMPLES = "digits", "digits", "dpm20"
IMAGES, BATCH = 512, 128
FEW = {"scheduler": "dpmsolver++", "steps": 20}
MANY = {"scheduler": "ddpm", "steps": 1000}


@dataclass
class Drawer:
    """A sampler, with its images and its times so far."""

    sampler: Sampler
    images: list[torch.Tensor] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def draw(self, start: int, count: int) -> None:
        """Sample the images `start` to `start + count` - 1 and keep them with their time."""
        began = time.perf_counter()
        images = self.sampler.draw(start, count)
        self.seconds.append(time.perf_counter() - began)
        self.images.append(images)


def compare_on_the_demo(
    results: Path, threads: int, images: int = IMAGES, few: dict = FEW, many: dict = MANY
) -> dict[str, object]:
    """Return the time ratio and the FIDs of two samplers on the demo's last checkpoint.

    few, many: keys of `drawing`. Raises UserError without a finished demo in `results`.
    """
    torch.set_num_threads(threads)
    config = read_config(CONFIG).model_copy(update={"results_dir": str(results)})
    ways = {"few": few, "many": many}
    drawers = {name: Drawer(demo_sampler(config, keys)) for name, keys in ways.items()}
    draw_in_turns(drawers, images)
    seconds = (drawers["few"].seconds, drawers["many"].seconds)
    ratios = [slow / fast for fast, slow in zip(*seconds, strict=True)]
    kinds = {"median": statistics.median, "min": min, "max": max}
    result: dict[str, object] = {
        **{f"ratio_{kind}": round(function(ratios), 2) for kind, function in kinds.items()},
        **qualities(drawers, Path(jobs.dataset_folder(config, DATASET)), images),
        "images": images,
        "batch_size": min(images, BATCH),
        "threads": threads,
        "device": device_name(drawers["few"].sampler.device),
    }
    print(f"time ratio: {result['ratio_median']}")
    return result


def draw_in_turns(drawers: dict[str, Drawer], images: int) -> None:
    """Sample so many images by each sampler, a batch in each turn."""
    size = min(images, BATCH)
    for drawer in drawers.values():  # the first evaluation is slower and is not timed
        next(drawer.sampler.denoise(0, size))
    for start in range(0, images, size):
        for name, drawer in drawers.items():
            drawer.draw(start, size)
            print(f"{name} steps: {drawer.seconds[-1]:.1f} s for {size} images", file=sys.stderr)


def qualities(drawers: dict[str, Drawer], dataset: Path, images: int) -> dict[str, object]:
    """Return each sampler's seconds per image and its FID against the training images, in features
    of the dataset's classifier."""
    classifier, summary = read_classifier(dataset / "classifier" / "classifier.safetensors")
    reference = torch.from_numpy(np.load(dataset / "train.npy", allow_pickle=False))
    result = {"classifier_accuracy": summary["accuracy_eval"]}
    for name, drawer in drawers.items():
        keys = drawer.sampler.stage.drawing
        fid = frechet_distance(classifier, torch.cat(drawer.images), reference)
        seconds = sum(drawer.seconds) / images
        result |= {f"fid_{name}": round(fid, 3), f"seconds_per_image_{name}": round(seconds, 5)}
        print(
            f"{keys.steps} steps of {keys.scheduler}: {1e3 * seconds:.1f} ms per image, "
            f"FID (classifier features) {fid:.2f}"
        )
    return result


def demo_sampler(config: Config, drawing: dict) -> Sampler:
    """Return a sampler of the demo's last checkpoint with other keys of `drawing`.

    Raises UserError without a checkpoint.
    """
    step = config.experiments[EXPERIMENT].train.steps
    manifest = Path(jobs.manifest_of_checkpoint(config, EXPERIMENT, step))
    if not manifest.exists():
        raise UserError(f"--demo {config.results_dir}: no {manifest}; run `make demo` first")
    keys = stages.sample_stage(config, EXPERIMENT, SAMPLES, step)
    stage = SampleStage.model_validate_json(keys)
    stage = stage.model_copy(update={"drawing": Drawing(batch_size=BATCH, **drawing)})
    device = torch.device("cuda" if gpu_is_usable() else "cpu")
    round_to_tf32(False)
    return Sampler(stage, load_checkpoint(manifest, step), device)


def frechet_distance(
    classifier: ClassifierNetwork, generated: torch.Tensor, real: torch.Tensor
) -> float:
    """Return the FID of images, uint8 [N, H, W, C], in the classifier's features."""
    generated_statistics, real_statistics = (
        feature_statistics(classifier, images) for images in (generated, real)
    )
    found = fid_statistics_to_metric(generated_statistics, real_statistics, verbose=False)
    return float(found[KEY_METRIC_FID])


@torch.inference_mode()
def feature_statistics(
    classifier: ClassifierNetwork, images: torch.Tensor
) -> dict[str, np.ndarray]:
    """Return the mean and the covariance of images' features, in float64."""
    batches = images.permute(0, 3, 1, 2).split(256)
    features = torch.cat([classifier(to_unit_range(batch))[0] for batch in batches])
    values = features.double().numpy()
    return {"mu": values.mean(0), "sigma": np.cov(values, rowvar=False)}
