"""A dataset as latents: encoded once, scaled, and decoded after sampling."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_trainer import random_images
from training_runs import Run

from ddpm_bench.config.networks import VqVae
from ddpm_bench.config.sampling import SampleRun, SampleStage
from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json, sha256, write_json
from ddpm_bench.latents.encoding import identity, open_decoder, write_latents
from ddpm_bench.models.autoencoder import build_autoencoder, trained_autoencoder
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.sampling.sampler import Sampler, draw_batch, open_sampler
from ddpm_bench.training.manifests import load_checkpoint

CPU = torch.device("cpu")
VQVAE = {
    "name": "vqvae", "channels": 8, "downsampling": 2, "layers_per_block": 1,
    "norm_num_groups": 4, "codebook_size": 16,
}  # fmt: skip
UNET = {"name": "unet", "dim": 8, "dim_mults": [1, 2]}


def save_images(folder: Path, count: int, held_out: int) -> dict[str, Path]:
    folder.mkdir(parents=True)
    files = {"train": folder / "train.npy", "eval": folder / "eval.npy"}
    np.save(files["train"], random_images(count))
    np.save(files["eval"], random_images(held_out))
    summary = {"sha256": {"train": sha256(files["train"])}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return files


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """A trained autoencoder's run, its images and the folder of its latents."""
    folder = tmp_path_factory.mktemp("latents")
    files = save_images(folder / "data", 70, 5)
    run = Run(folder, "vq", model=VQVAE)
    run.complete_here(0, 20)
    output = run.results / "latents"
    write_latents(VqVae(**VQVAE), run.manifest(0, 20), 20, files, CPU, output)
    return run, files, output


def test_latents_have_no_mean_and_unit_variance_in_each_channel(encoded):
    _, _, output = encoded
    latents = np.load(output / "train.npy")
    assert latents.shape == (70, 4, 4, 4) and latents.dtype == np.float32
    pixels = latents.reshape(-1, 4).astype(np.float64)
    np.testing.assert_allclose(pixels.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(pixels.std(axis=0), 1, atol=1e-5)
    assert np.load(output / "eval.npy").shape == (5, 4, 4, 4)


def test_scaled_back_they_are_the_encoders(encoded):
    run, files, output = encoded
    weights = load_checkpoint(run.manifest(0, 20), 20)
    model = trained_autoencoder(VqVae(**VQVAE), 1, weights, CPU)
    said = read_json(output / "summary.json")
    images = torch.from_numpy(np.load(files["eval"])).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = model.encode(images).permute(0, 2, 3, 1).numpy()
    found = np.load(output / "eval.npy") * np.array(said["std"]) + np.array(said["mean"])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_latents_are_named_by_what_they_were_made_from(encoded, trained):
    _, files, output = encoded
    told = read_json(output / "summary.json")
    weights = told["autoencoder"]["sha256"]
    assert told["identity"] == identity(VqVae(**VQVAE), weights, files["train"])
    assert told["identity"] != identity(VqVae(**VQVAE), "0" * 64, files["train"])
    assert told["identity"] != identity(VqVae(**VQVAE), weights, files["eval"])
    # Last bits of another device's: the training goes on, and is not begun anew.
    latents = np.load(output / "train.npy")
    np.save(output / "train.npy", latents * np.float32(1 + 1e-6))
    others = {**told["sha256"], "train": sha256(output / "train.npy")}
    write_json(output / "summary.json", {**told, "sha256": others})
    folders = sorted(path.name for path in (trained.results / "training").iterdir())
    trained.complete_here(0, 20)
    assert sorted(path.name for path in (trained.results / "training").iterdir()) == folders
    np.save(output / "train.npy", latents)
    write_json(output / "summary.json", told)


def test_nothing_held_out_gives_no_latents(tmp_path, encoded):
    run, files, _ = encoded
    empty = tmp_path / "empty.npy"
    np.save(empty, np.empty((0, 8, 8, 1), np.uint8))
    both = {"train": files["train"], "eval": empty}
    write_latents(VqVae(**VQVAE), run.manifest(0, 20), 20, both, CPU, tmp_path / "out")
    assert np.load(tmp_path / "out" / "eval.npy").shape == (0, 4, 4, 4)


def test_an_autoencoder_that_says_the_same_of_everything_is_refused(tmp_path, encoded):
    run, _, _ = encoded
    files = {"train": tmp_path / "train.npy", "eval": tmp_path / "train.npy"}
    np.save(files["train"], np.full((3, 8, 8, 1), 7, np.uint8))
    weights = {
        name: torch.zeros_like(value)
        for name, value in load_checkpoint(run.manifest(0, 20), 20).items()
    }
    from safetensors.torch import save_file

    broken = Run(tmp_path, "broken", model=VQVAE)
    (broken.results / "checkpoints").mkdir(parents=True)
    path = broken.results / "checkpoints" / "step-00000020.safetensors"
    save_file(weights, path)
    manifest = broken.manifest(0, 20)
    manifest.parent.mkdir()
    entry = {"step": 20, "file": f"checkpoints/{path.name}", "sha256": sha256(path)}
    manifest.write_text(json.dumps({"fingerprint": "x", "checkpoints": [entry]}))
    with pytest.raises(UserError, match="collapsed"):
        write_latents(VqVae(**VQVAE), manifest, 20, files, CPU, tmp_path / "out")


@pytest.fixture(scope="module")
def trained(encoded):
    """An experiment trained in these latents, by the program; its what holds the latents' shape."""
    run, _, output = encoded
    latent = Run(run.folder, "latent")
    what = json.loads(latent.what()) | {"latents": {"channels": 4, "size": 4}}
    latent.what = lambda: json.dumps(what)
    arguments = latent.arguments
    latent.arguments = lambda first, last: [
        str(output) if word == str(latent.folder / "data") else word
        for word in arguments(first, last)
    ]
    latent.complete_here(0, 20)
    return latent


def stage(**drawing) -> SampleStage:
    keys = {"steps": 3, "batch_size": 4, **drawing}
    return SampleStage.model_validate(
        {
            "version": 1, "image_size": 8, "channels": 1, "autoencoder": VQVAE, "model": UNET,
            "drawing": keys,
        }
    )  # fmt: skip


def test_samples_are_decoded_by_what_lies_beside_the_checkpoints(encoded, trained):
    manifest = trained.manifest(0, 20)
    sampler = open_sampler(stage(), SampleRun(), manifest, 20)
    batch = draw_batch(sampler, 0)
    assert batch.images.shape == (4, 8, 8, 1) and batch.images.dtype == np.uint8
    *_, (latents, _) = sampler.denoise(0, 4)
    assert latents.shape == (4, 4, 4, 4)
    decoded = open_decoder(manifest, CPU).images(latents)
    expected = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(batch.images, expected.numpy())


def test_another_autoencoder_beside_the_checkpoints_is_refused(tmp_path, trained):
    manifest = trained.manifest(0, 20)
    said = read_json(manifest)
    said["autoencoder"]["sha256"] = "0" * 64
    other = trained.results / "training" / "job-other.json"
    other.write_text(json.dumps(said))
    with pytest.raises(UserError, match=r"autoencoder\.safetensors"):
        open_decoder(other, CPU)


class _Constant(torch.nn.Module):
    """A network whose estimate of the clean latents is 3 everywhere."""

    def forward(self, noised, times, *seen):
        return torch.full_like(noised, 3.0)


@pytest.mark.parametrize("scheduler", ["ddpm", "ddim", "dpmsolver++"])
def test_latents_are_not_clipped_to_the_range_of_images(scheduler, encoded, trained):
    keys = stage(scheduler=scheduler).model_dump()
    keys["diffusion"]["objective"] = "pred_x0"
    weights = build_model(stage().model, 4).state_dict()
    sampler = Sampler(SampleStage.model_validate(keys), weights, CPU)
    sampler._model = _Constant()
    *_, (latents, _) = sampler.denoise(0, 2)
    assert float(latents.mean()) == pytest.approx(3.0, abs=0.1)


def test_the_decoder_is_built_for_the_channels_of_the_images():
    assert build_autoencoder(VqVae(**VQVAE), 3).decoder.conv_out.out_channels == 3


def flip_a_bit(path: Path) -> None:
    with path.open("r+b") as file:  # in place: all hard links see it
        file.seek(-8, os.SEEK_END)
        value = file.read(1)[0]
        file.seek(-8, os.SEEK_END)
        file.write(bytes([value ^ 1]))


def test_damaged_latents_are_not_trained_on(encoded, trained):
    _, _, output = encoded
    flip_a_bit(output / "train.npy")
    with pytest.raises(UserError, match=r"latents/train\.npy: damaged .*; delete it and run"):
        trained.complete_here(0, 20)
    flip_a_bit(output / "train.npy")


def delete_as_advised(run: Callable[[], object]) -> list[str]:
    """Delete what the error of a program says; return the names of the files."""
    with pytest.raises(UserError) as raised:
        run()
    advised = re.search(r"delete (.*?) and run snakemake again", str(raised.value))[1].split(
        " and "
    )
    for path in map(Path, advised):
        path.unlink()
    return [Path(path).name for path in advised]


def test_a_damaged_autoencoder_comes_back_by_the_advice_of_each_stage(encoded, trained):
    """Its weights are one file by four names: a bit that flips is in all of them."""
    run, files, output = encoded
    published = trained.results / "checkpoints" / "autoencoder.safetensors"
    good = published.read_bytes()
    flip_a_bit(published)

    def encode() -> None:
        write_latents(VqVae(**VQVAE), run.manifest(0, 20), 20, files, CPU, output)

    manifest = "job-00000000-00000020.json"
    assert delete_as_advised(lambda: open_decoder(trained.manifest(0, 20), CPU)) == [manifest]
    assert delete_as_advised(lambda: trained.complete_here(0, 20)) == ["summary.json"]
    assert delete_as_advised(encode) == ["step-00000020.safetensors", manifest]
    run.complete_here(0, 20)
    encode()
    trained.complete_here(0, 20)
    assert published.read_bytes() == good
    assert open_decoder(trained.manifest(0, 20), CPU)
    assert [event["steps_executed"] for event in trained.events("job ended")] == [20]
