"""The comparison of sampling, run as its users run it, on a small network."""

import json
import subprocess
import sys
from unittest.mock import patch

import numpy as np
import pytest
import torch
from places import REPOSITORY
from safetensors.torch import save_file

from ddpm_bench.config.loading import read_config
from ddpm_bench.errors import UserError
from ddpm_bench.files import sha256, write_json
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.sampling.solvers import fresh_noise
from ddpm_bench.scoring.features.classifier import ClassifierNetwork, write_classifier

COMPARISONS = REPOSITORY / "comparisons"
SMALL = ["--image-size", "8", "--dim", "8", "--dim-mults", "1", "2", "--batch-size", "2"]


def comparison(*options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, COMPARISONS / "sample.py", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.long
def test_both_sides_are_measured_in_turns():
    done = comparison(
        *(*SMALL, "--precision", "fp32", "--sampling-steps", "2", "--pairs", "3"),
        *("--threads", "1", "--profile"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ratio_min"] <= found["ratio_median"] <= found["ratio_max"]
    for side in ("ours", "peer"):
        assert found[f"images_per_second_{side}"] > 0
        assert found[f"peak_memory_mb_{side}"] > 100, "torch alone takes more"
        assert found[f"precision_{side}"] == "fp32"
    assert "peer_like_for_like" not in str(found), "both are in fp32 already"
    assert 0 < found["share_noise"] < 1
    assert "share_in_kernels" not in found, "there is no GPU"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--pairs", "2"], "--pairs 2"),
        (["--image-size", "10"], "--image-size 10"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, complaint):
    done = comparison(*options)
    assert done.returncode == 2
    assert complaint in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("steps", [5, 50])
def test_both_sides_draw_the_same_images_from_the_same_noise(monkeypatch, steps):
    monkeypatch.syspath_prepend(COMPARISONS)
    from denoising_diffusion_pytorch import GaussianDiffusion
    from sample_sides import Sampling, our_stage

    from ddpm_bench.models.randomness import image_generator
    from ddpm_bench.sampling.sampler import Sampler

    work = Sampling("", 8, 2, 8, (1, 2), steps, 1, "cpu")
    stage = our_stage(work, "fp32")
    sampler = Sampler(stage, build_model(stage.model, 3).state_dict(), torch.device("cpu"))
    peer = GaussianDiffusion(
        build_model(stage.model, 3), image_size=8, sampling_timesteps=steps
    ).eval()
    generators = [image_generator(stage.drawing.seed, image) for image in range(2)]
    noise = fresh_noise((2, 3, 8, 8), generators, torch.device("cpu"))
    with patch("torch.randn", return_value=noise):
        theirs = peer.sample(batch_size=2)
    ours = sampler.draw(0, 2).permute(0, 3, 1, 2) / 255
    assert torch.allclose(ours, theirs, atol=0.51 / 255)


def test_few_steps_and_many_are_compared_on_the_demo(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(COMPARISONS)
    from sample_demo import EXPERIMENT, compare_on_the_demo, demo_sampler

    config = read_config(COMPARISONS.parent / "config" / "config.yaml")
    keys = config.experiments[EXPERIMENT]
    here = config.model_copy(update={"results_dir": str(tmp_path)})
    with pytest.raises(UserError, match="run `make demo` first"):
        demo_sampler(here, {})
    weights = tmp_path / EXPERIMENT / "checkpoints" / "step-00001200.safetensors"
    weights.parent.mkdir(parents=True)
    save_file(build_model(keys.model, 1).state_dict(), weights)
    entry = {"step": 1200, "file": f"checkpoints/{weights.name}", "sha256": sha256(weights)}
    manifest = tmp_path / EXPERIMENT / "training" / "job-00000600-00001200.json"
    write_json(manifest, {"checkpoints": [entry]})
    dataset = tmp_path / "datasets" / "digits"
    summary = {"channels": 1, "image_size": 16, "features": 4, "labels": ["0", "1"]}
    classifier = ClassifierNetwork(1, 16, 4, 2)
    torch.nn.init.constant_(classifier.convolutions[-1][1].weight, 1000)  # features of some size
    write_classifier(dataset / "classifier", classifier, {**summary, "accuracy_eval": 0.5})
    np.save(dataset / "train.npy", np.random.RandomState(0).randint(0, 256, (9, 16, 16, 1), "u1"))

    few, many = ({"scheduler": "ddpm", "steps": steps} for steps in (1, 6))
    found = compare_on_the_demo(tmp_path, 1, images=8, few=few, many=many)
    assert found["ratio_median"] > 1
    assert found["fid_few"] > 0 and found["fid_many"] > 0
    assert found["seconds_per_image_many"] > found["seconds_per_image_few"]
