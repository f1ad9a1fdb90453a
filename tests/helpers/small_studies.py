"""Four small studies that between them plan every kind of job: experiments, latents, a sweep, the
throughput benchmark."""

import copy
from pathlib import Path

import yaml
from places import REPOSITORY
from small_study import SMALL

TRAIN = {"steps": 20, "batch_size": 16, "checkpoint_every": 20, "run": {"cpus": 1}}
MODEL_OF_ONE_S_OWN = """\
import torch
from torch import nn


def build(samples):
    batch = torch.randn(samples, 8), torch.randn(samples, 8)
    return nn.Linear(8, 8), batch, nn.functional.mse_loss
"""


def experiment() -> dict:
    """One experiment with two sets of samples, of which it keeps the best checkpoint alone."""
    config = copy.deepcopy(SMALL)
    own = config["experiments"]["small"]
    own["samples"]["ddim4"] = {**own["samples"]["dpm4"], "scheduler": "ddim", "checkpoints": [40]}
    own["keep"] = {"every": 100}
    return config


def latents() -> dict:
    """Two experiments in the latents of one autoencoder; one of them is sampled and scored."""
    config = copy.deepcopy(SMALL)
    small = config["experiments"].pop("small")
    score = small["scores"]["classifier"]
    config["datasets"]["digits"]["image_size"] = 16
    model = {
        "name": "vqvae", "channels": 8, "downsampling": 4, "layers_per_block": 1,
        "norm_num_groups": 4, "codebook_size": 32,
    }  # fmt: skip
    config["autoencoders"] = {
        "vq": {
            "dataset": "digits",
            "model": model,
            "train": {**TRAIN, "checkpoint_every": 10},
            "reconstructions": {"images": 50},
            "scores": {"classifier": {**score, "reference": "eval"}},
        }
    }
    latent = {**small, "autoencoder": "vq", "train": TRAIN}
    samples = {"dpm4": {**small["samples"]["dpm4"], "images": 16}}
    config["experiments"] = {
        "first": {**latent, "samples": samples},
        "second": {**latent, "samples": samples, "diffusion": {"objective": "pred_noise"}},
    }
    return config


def sweep() -> dict:
    """The small experiment at two batch sizes."""
    config = copy.deepcopy(SMALL)
    own = config["experiments"]["small"]
    own["train"] = {**TRAIN, "learning_rate": 1e-3}
    own["samples"]["dpm4"]["images"] = 8
    own["sweep"] = {"keys": {"train.batch_size": [8, 16]}}
    return config


def benchmark() -> dict:
    """A model of one's own (own.py in the working folder), alone and in two processes."""
    return {
        "results_dir": "results",
        "benchmark": {
            "models": {"own": {"name": "own", "path": "own.py"}},
            "strategies": ["single", "ddp"],
            "batch_size": [4],
            "processes": [1, 2],
            "steps": 3,
            "seconds": 0,
            "repetitions": 2,
        },
    }


SMALL_STUDIES = {
    "experiment": experiment,
    "latents": latents,
    "sweep": sweep,
    "benchmark": benchmark,
}


def write_study(name: str, folder: Path) -> Path:
    """Write the config of a study, and the files that it names, into a new folder."""
    folder.mkdir(parents=True)
    (folder / "own.py").write_text(MODEL_OF_ONE_S_OWN)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(SMALL_STUDIES[name](), sort_keys=False))
    return path


def shipped_config(name: str) -> dict:
    """Return one of the configs that stand in config/ of the project, parsed."""
    return yaml.safe_load((REPOSITORY / "config" / name).read_text())
