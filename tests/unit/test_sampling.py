"""A sample depends on the weights, the keys of its set, the seed and its number alone."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from training_runs import SCRIPTS

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.networks import Unet
from ddpm_bench.config.sampling import Drawing, SampleStage
from ddpm_bench.files import sha256
from ddpm_bench.model import build_model
from ddpm_bench.sampling import Sampler, draw_batches, draw_batch

MODEL = Unet(name="unet", dim=8, dim_mults=(1, 2))
CPU = torch.device("cpu")


def sampler(**drawing) -> Sampler:
    keys = Drawing(**{"steps": 3, "batch_size": 4, **drawing})
    stage = SampleStage(version=1, image_size=8, channels=1, model=MODEL, drawing=keys)
    return Sampler(stage, build_model(MODEL, 1, seed=3).state_dict(), CPU)


def images(made: Sampler, first: int, last: int) -> np.ndarray:
    return np.concatenate([batch for _, batch in draw_range(made, first, last)])


@pytest.mark.parametrize(
    "drawing",
    [
        {"scheduler": "dpmsolver++"},
        {"scheduler": "ddpm"},
        {"scheduler": "ddim", "steps": 4, "eta": 0.7},
    ],
)
def test_any_cut_gives_the_same_bytes(drawing):
    whole = images(sampler(**drawing), 0, 13)
    assert whole.shape == (14, 8, 8, 1)
    assert len({image.tobytes() for image in whole}) == 14
    for cuts in ([(0, 6), (7, 13)], [(0, 3), (4, 4), (5, 9), (10, 13)]):
        pieces = [images(sampler(**drawing), first, last) for first, last in cuts]
        assert (np.concatenate(pieces) == whole).all()


def test_a_self_conditioned_network_sees_its_last_estimate_of_the_image():
    keys = Unet(**{**MODEL.model_dump(), "self_condition": True})
    drawing = Drawing(scheduler="ddim", steps=4, batch_size=4)
    stage = SampleStage(
        version=1, image_size=8, channels=1, model=keys, drawing=drawing,
        diffusion=Diffusion(objective="pred_x0"),
    )  # fmt: skip
    made = Sampler(stage, build_model(keys, 1, seed=3).state_dict(), CPU)
    network, seen, given = made._model, [], []

    def watched(images, times, *estimate):
        seen.append(estimate)
        given.append(network(images, times, *estimate))
        return given[-1]

    made._model = watched
    made.draw(0, 4)
    assert seen[0] == ()
    for (estimate,), prediction in zip(seen[1:], given[:-1], strict=True):
        # With pred_x0 the prediction is the estimate, clipped as samplers clip it.
        assert torch.equal(estimate, prediction.clamp(-1, 1))


def test_another_seed_gives_other_images():
    assert (images(sampler(seed=0), 0, 3) != images(sampler(seed=1), 0, 3)).any()


def test_ddim_without_noise_and_with_it_differ():
    plain = images(sampler(scheduler="ddim", steps=4, eta=0), 0, 3)
    noisy = images(sampler(scheduler="ddim", steps=4, eta=1), 0, 3)
    assert (plain != noisy).any()


def test_the_program_refuses_weights_that_are_not_the_manifests(tmp_path):
    weights = tmp_path / "checkpoints" / "step-00000010.safetensors"
    weights.parent.mkdir()
    save_file(build_model(MODEL, 1).state_dict(), weights)
    entry = {"step": 10, "file": "checkpoints/step-00000010.safetensors", "sha256": sha256(weights)}
    manifest = tmp_path / "training" / "job-00000000-00000010.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"checkpoints": [entry]}))
    what = {"version": 1, "image_size": 8, "channels": 1, "model": MODEL.model_dump(mode="json")}
    command = [sys.executable, str(SCRIPTS / "sample.py"), "--what", json.dumps(what)]
    command += ["--manifest", str(manifest), "--step", "10", "--last", "2", "--output"]
    run = {"capture_output": True, "text": True, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}

    made = subprocess.run([*command, str(tmp_path / "good.npy")], check=False, **run)
    assert made.returncode == 0, made.stderr
    assert np.load(tmp_path / "good.npy").shape == (3, 8, 8, 1)

    save_file(build_model(MODEL, 1, seed=9).state_dict(), weights)
    refused = subprocess.run([*command, str(tmp_path / "bad.npy")], check=False, **run)
    assert refused.returncode == 2
    assert "not the weights that its manifest names" in refused.stderr
    assert not (tmp_path / "bad.npy").exists()
