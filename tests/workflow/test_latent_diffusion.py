"""Two experiments in the latents of one autoencoder, by real Snakemake."""

import json

import numpy as np
import pytest
from conftest import Study

TRAIN = {"steps": 20, "batch_size": 16, "checkpoint_every": 20, "run": {"cpus": 1}}


@pytest.fixture(scope="module")
def latent_study(tmp_path_factory) -> Study:
    """Scored and drawn, but without the rest of a run's pictures."""
    study = Study(tmp_path_factory.mktemp("latent") / "study")
    study.folder.mkdir()
    small = study.config["experiments"].pop("small")
    score = small["scores"]["classifier"]
    latent = {**small, "autoencoder": "vq", "train": TRAIN}
    samples = {"dpm4": {**small["samples"]["dpm4"], "images": 16}}
    study.config["datasets"]["digits"]["image_size"] = 16
    study.config["autoencoders"] = {
        "vq": {
            "dataset": "digits",
            "model": {
                "name": "vqvae", "channels": 8, "downsampling": 4, "layers_per_block": 1,
                "norm_num_groups": 4, "codebook_size": 32,
            },
            "train": {**TRAIN, "checkpoint_every": 10},
            "reconstructions": {"images": 50},
            "scores": {"classifier": {**score, "reference": "eval"}},
        }
    }  # fmt: skip
    study.config["experiments"] = {
        "first": {**latent, "samples": samples},
        "second": {**latent, "samples": {}, "diffusion": {"objective": "pred_noise"}},
    }
    study.run(*targets("first"), *targets("second", "training/job-00000000-00000020.json"))
    return study


def targets(name: str, *files: str) -> list[str]:
    of_vq = ["report/Codebooks_vs_TrainingSteps.png", "report/FID_vs_TrainingSteps.png"]
    if not files:
        files = ("report/evaluation_results.csv", "report/denoising.dpm4.gif")
        return [f"results/vq/{file}" for file in of_vq] + [
            f"results/{name}/{file}" for file in files
        ]
    return [f"results/{name}/{file}" for file in files]


def test_the_autoencoder_is_trained_and_encodes_once_for_both(latent_study):
    results = latent_study.folder / "results"
    assert len(list((results / "logs" / "train").glob("vq.*.log"))) == 1
    assert len(list((results / "logs" / "encode").glob("*.log"))) == 1
    weights = results / "vq" / "checkpoints" / "step-00000020.safetensors"
    for name in ("first", "second"):
        assert (results / name / "checkpoints" / "autoencoder.safetensors").samefile(weights)
    assert np.load(results / "vq" / "latents" / "train.npy").shape[1:] == (4, 4, 4)


def test_samples_of_latents_are_images_and_are_scored(latent_study):
    folder = latent_study.folder / "results" / "first"
    (file,) = (folder / "samples" / "dpm4" / "step-00000020").glob("*.npy")
    images = np.load(file)
    assert images.shape == (16, 16, 16, 1) and images.dtype == np.uint8
    score = json.loads(
        (folder / "scores" / "classifier" / "dpm4" / "step-00000020.json").read_text()
    )
    assert score["images_generated"] == 16 and score["fid"] > 0


def test_reconstructions_are_scored_against_what_was_held_out(latent_study):
    folder = latent_study.folder / "results" / "vq"
    for step in (10, 20):
        name = f"step-{step:08}"
        score = json.loads(
            (folder / "scores" / "classifier" / "reconstructions" / f"{name}.json").read_text()
        )
        assert score["images_generated"] == 50 and score["reference"] == "eval"
        summary = json.loads((folder / "reconstructions" / name / "summary.json").read_text())
        assert summary["images"] == 50 and summary["codebooks"][0]["codes"] == 32


def test_another_experiment_in_the_same_latents_trains_no_autoencoder(latent_study, tmp_path):
    study = latent_study.copied(tmp_path / "study")
    study.config["experiments"]["third"] = study.config["experiments"]["second"]
    manifest = "results/third/training/job-00000000-00000020.json"
    assert study.would_run(manifest) == {"train": 1}


def test_a_longer_trained_autoencoder_encodes_anew_and_its_experiments_begin_anew(
    latent_study, tmp_path
):
    study = latent_study.copied(tmp_path / "study")
    study.config["autoencoders"]["vq"]["train"]["steps"] = 30
    would = study.would_run(*targets("first"))
    assert would["encode"] == 1 and would["train"] == 2 and would["reconstruct"] == 1
