"""Training begins with given weights, and refuses files that hold others."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from denoising_diffusion_pytorch import GaussianDiffusion, Trainer
from PIL import Image
from small_trainer import UNET, random_images, run_to_end, small_stage, small_trainer

from ddpm_bench.config.networks import Unet
from ddpm_bench.config.training import GivenWeights
from ddpm_bench.errors import UserError
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.training.initial_weights import given_weights


def given(path: Path, sha256: str | None = None) -> dict:
    return {"path": str(path), "sha256": sha256 or hashlib.sha256(path.read_bytes()).hexdigest()}


def begun_with(folder: Path, weights: dict):
    return small_trainer(folder, small_stage(init_from=weights))


def test_training_goes_on_from_a_checkpoint_of_ours(tmp_path):
    path = run_to_end(tmp_path / "first", small_stage()).checkpoints.file(10)
    trainer = begun_with(tmp_path / "second", given(path))
    other = small_trainer(tmp_path / "third", small_stage())
    from safetensors.torch import load_file

    for name, value in load_file(path).items():
        assert torch.equal(trainer.parameters[name], value)
        assert torch.equal(trainer.averages.of[None][name], value)
    assert not torch.equal(
        trainer.parameters["init_conv.weight"], other.parameters["init_conv.weight"]
    )


@pytest.fixture(scope="module")
def trainers_checkpoint(tmp_path_factory):
    """A file written by denoising-diffusion-pytorch's own Trainer after two steps."""
    folder = tmp_path_factory.mktemp("trainer")
    (folder / "images").mkdir()
    for index, image in enumerate(random_images(100, 8, 3)):
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
    model = build_model(Unet(**UNET), 3, seed=5)
    trainer = Trainer(
        GaussianDiffusion(model, image_size=8),
        str(folder / "images"),
        train_batch_size=16,
        train_num_steps=2,
        save_and_sample_every=100,
        results_folder=str(folder / "results"),
        calculate_fid=False,
    )
    trainer.train()
    trainer.save(1)
    average = {
        name.removeprefix("model."): value.clone()
        for name, value in trainer.ema.ema_model.state_dict().items()
        if name.startswith("model.")
    }
    return folder / "results" / "model-1.pt", average


def test_training_goes_on_from_the_average_in_a_checkpoint_of_the_trainer(
    tmp_path, trainers_checkpoint
):
    path, average = trainers_checkpoint
    stage = small_stage(init_from=given(path))
    trainer = small_trainer(tmp_path, stage, random_images(channels=3))
    assert set(average) == set(trainer.parameters)
    for name, value in average.items():
        assert torch.equal(trainer.parameters[name], value)


def test_where_the_weights_lie_is_no_part_of_the_training(tmp_path):
    from ddpm_bench.training.description import fingerprint

    here = small_stage(init_from={"path": "here.pt", "sha256": "0" * 64})
    there = small_stage(init_from={"path": "there.pt", "sha256": "0" * 64})
    other = small_stage(init_from={"path": "here.pt", "sha256": "1" * 64})
    assert fingerprint(here, "images") == fingerprint(there, "images")
    assert fingerprint(here, "images") != fingerprint(other, "images")
    assert fingerprint(here, "images") != fingerprint(small_stage(), "images")


PARAMETERS = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}


def problem(path: Path, sha256: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        given_weights(GivenWeights(**given(path, sha256)), PARAMETERS)
    return str(caught.value)


def test_a_missing_file_and_another_file_are_named(tmp_path):
    assert "there is no such file" in problem(tmp_path / "none.pt", "0" * 64)
    path = tmp_path / "weights.pt"
    path.write_bytes(b"something")
    assert f"its sha256 is {given(path)['sha256']}" in problem(path, "0" * 64)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "weights.pt"
    torch.save({"model": Harmful()}, path, pickle_module=pickle)
    assert "cannot be read as a checkpoint" in problem(path)
    assert not (tmp_path / "ran").exists()


def test_another_network_is_refused_with_what_differs(tmp_path):
    path = tmp_path / "weights.pt"
    held = {"model.weight": torch.zeros(2, 4), "model.other": torch.zeros(1)}
    torch.save({"model": held}, path)
    message = problem(path)
    assert "weight (2, 3) is (2, 4) there" in message
    assert "bias (2,) is missing there" in message
    assert "other is not in ours" in message


def test_a_file_without_a_network_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"step": 1}, path)
    assert "no `ema` and no `model`" in problem(path)
    np.save(tmp_path / "weights.npy", np.zeros(3))
    assert "cannot be read as a checkpoint" in problem(tmp_path / "weights.npy")
