"""Sampler: a sample depends only on weights, keys of its set, seed and its number."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from places import SCRIPTS
from safetensors.torch import save_file

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.networks import Unet
from ddpm_bench.config.sampling import Drawing, SampleStage
from ddpm_bench.files import sha256
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.sampling.kept_batches import DrawnBatch, KeptBatches, batch_starts, fingerprint
from ddpm_bench.sampling.sampler import Sampler, draw_batch, draw_batches

MODEL = Unet(name="unet", dim=8, dim_mults=(1, 2))
CPU = torch.device("cpu")
SCHEDULERS = ("ddpm", "ddim", "dpmsolver++", "unipc", "euler", "euler-ancestral", "heun")


def sampler(model: Unet = MODEL, objective: str = "pred_v", **drawing) -> Sampler:
    few = 12 if drawing.get("scheduler") == "heun" else 3  # fewer steps of heun are refused
    steps = {} if "timesteps" in drawing else {"steps": few}
    keys = Drawing(**{**steps, "batch_size": 4, **drawing})
    stage = SampleStage(
        version=1, image_size=8, channels=1, model=model, drawing=keys,
        diffusion=Diffusion(objective=objective),
    )  # fmt: skip
    return Sampler(stage, build_model(model, 1, seed=3).state_dict(), CPU)


def images(made: Sampler, first: int, last: int) -> np.ndarray:
    starts = batch_starts(made.stage.drawing.batch_size, first, last)
    return np.concatenate([draw_batch(made, start).between(first, last) for start in starts])


@pytest.mark.parametrize(
    "drawing",
    [
        *({"scheduler": scheduler} for scheduler in SCHEDULERS),
        {"scheduler": "ddim", "eta": 0.7, "timesteps": (900, 400, 7)},
        {"scheduler": "unipc", "karras_sigmas": True, "precision": "bf16"},
    ],
    ids=str,
)
def test_any_cut_in_any_order_gives_the_same_bytes(drawing):
    made = sampler(**drawing)
    whole = images(made, 0, 13)
    assert whole.shape == (14, 8, 8, 1)
    assert len({image.tobytes() for image in whole}) == 14
    fives = [(0, 3), (4, 4), (5, 9), (10, 11), (12, 13)]
    for cuts in ([(0, 6), (7, 13)], fives):
        order = random.Random(0).sample(cuts, len(cuts))
        pieces = {cut: images(made, *cut) for cut in order}
        assert (np.concatenate([pieces[cut] for cut in cuts]) == whole).all()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_self_conditioned_network_sees_its_last_estimate_of_the_image(scheduler):
    keys = Unet(**{**MODEL.model_dump(), "self_condition": True})
    made = sampler(keys, "pred_x0", scheduler=scheduler)
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


def test_the_way_to_the_images_ends_in_them():
    made = sampler(steps=5)
    way = list(made.denoise(2, 3))
    assert len(way) == 5
    for noised, estimate in way:
        assert noised.shape == estimate.shape == (3, 1, 8, 8)
        assert noised.dtype == estimate.dtype == torch.float32
    levels = (way[-1][0].clamp(-1, 1) + 1) * 127.5
    assert torch.equal(levels.round().to(torch.uint8)[:, 0], made.draw(2, 3)[..., 0])


def test_bf16_is_near_fp32_and_only_the_network_is_in_it():
    exact, rough = sampler(), sampler(precision="bf16")
    seen = []
    network = rough._model
    rough._model = lambda images, times: seen.append(images.dtype) or network(images, times)
    (*_, (ours, _)), (*_, (theirs, _)) = rough.denoise(0, 4), exact.denoise(0, 4)
    assert set(seen) == {torch.float32} and ours.dtype == torch.float32
    assert not torch.equal(ours, theirs)
    assert (ours - theirs).abs().mean() < 0.02


def test_kept_batches_are_not_drawn_again(tmp_path):
    made, kept = sampler(), KeptBatches(tmp_path, "a")
    marked = np.full((4, 8, 8, 1), 7, np.uint8)
    kept.keep(DrawnBatch(4, marked, 0.5))
    drawn = []
    with patch(
        "ddpm_bench.sampling.sampler.draw_batch",
        lambda _, at: drawn.append(at) or draw_batch(made, at),
    ):
        batches = list(draw_batches(made, [0, 4, 8], kept))
    assert drawn == [0, 8]
    assert (batches[1].images == 7).all() and batches[1].seconds == 0.5
    assert all(kept.has(start) for start in (0, 4, 8)), "each is kept once it is drawn"


def test_a_damaged_batch_is_drawn_again(tmp_path):
    kept = KeptBatches(tmp_path, "a")
    kept.keep(DrawnBatch(0, np.zeros((4, 8, 8, 1), np.uint8), 0.5))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    assert not kept.has(0)


def test_batches_of_other_keys_or_weights_are_removed_and_never_used(tmp_path):
    stage = sampler().stage
    names = {
        fingerprint(stage, "0" * 64),
        fingerprint(stage, "1" * 64),
        fingerprint(stage.model_copy(update={"drawing": Drawing(seed=5)}), "0" * 64),
        fingerprint(stage.model_copy(update={"version": 9}), "0" * 64),
    }
    assert len(names) == 4
    old, new = (KeptBatches(tmp_path, name) for name in sorted(names)[:2])
    old.keep(DrawnBatch(0, np.zeros((4, 8, 8, 1), np.uint8), 0.5))
    assert not new.has(0)
    new.keep(DrawnBatch(4, np.zeros((4, 8, 8, 1), np.uint8), 0.5))
    new.remove_others()
    assert not old.has(0) and new.has(4)
    new.remove([0, 4])
    assert list(tmp_path.iterdir()) == []


class Program:
    """sample.py on a checkpoint of a small network."""

    def __init__(self, folder: Path, **drawing) -> None:
        self.folder = folder / "samples" / "set" / "step-00000010"
        self.weights = folder / "checkpoints" / "step-00000010.safetensors"
        self.weights.parent.mkdir()
        save_file(build_model(MODEL, 1, seed=3).state_dict(), self.weights)
        entry = {"step": 10, "file": "checkpoints/step-00000010.safetensors"}
        entry["sha256"] = sha256(self.weights)
        manifest = folder / "training" / "job-00000000-00000010.json"
        manifest.parent.mkdir()
        manifest.write_text(json.dumps({"fingerprint": "0" * 64, "checkpoints": [entry]}))
        model = MODEL.model_dump(mode="json")
        drawing = {"steps": 3, "batch_size": 4, **drawing}
        what = {"version": 1, "image_size": 8, "channels": 1, "model": model, "drawing": drawing}
        self._command = [sys.executable, str(SCRIPTS / "sample.py"), "--what", json.dumps(what)]
        self._command += ["--how", '{"cpus": 1}', "--manifest", str(manifest), "--step", "10"]

    def output(self, first: int, last: int) -> Path:
        return self.folder / f"images-{first:06}-{last:06}.npy"

    def start(self, first: int, last: int) -> subprocess.Popen:
        output = self.output(first, last)
        options = ["--first", str(first), "--last", str(last), "--output", str(output)]
        options += ["--timing", str(output.with_suffix(".json"))]
        return subprocess.Popen(
            [*self._command, *options], stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def complete(self, first: int, last: int) -> str:
        process = self.start(first, last)
        _, printed = process.communicate(timeout=120)
        assert process.returncode == 0, printed
        return printed

    def batches(self) -> list[Path]:
        """Return the kept batches that are complete."""
        return [path for path in self.folder.glob(".batch-*.npz")]


def test_a_killed_job_goes_on_with_the_batches_it_has_drawn(tmp_path):
    keys = {"scheduler": "ddpm", "steps": 50}
    program = Program(tmp_path, **keys)
    process = program.start(0, 21)
    while len(program.batches()) < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.kill()
    process.communicate()
    found = len(program.batches())
    before = sum(float(np.load(path)["seconds"]) for path in program.batches())
    assert 2 <= found < 6 and not program.output(0, 21).exists()

    printed = program.complete(0, 21)
    assert f"found {found} of 6 batches of 4 images" in printed
    undisturbed = images(sampler(**keys), 0, 21)
    assert (np.load(program.output(0, 21)) == undisturbed).all()
    names = ["images-000000-000021.json", "images-000000-000021.npy"]
    assert sorted(path.name for path in program.folder.iterdir()) == names

    timing = json.loads(program.output(0, 21).with_suffix(".json").read_text())
    assert timing.pop("seconds") > before
    assert timing.pop("device").endswith(", 1 thread")
    assert timing.pop("started") < timing.pop("ended")
    assert len(timing.pop("sha256")) == len(timing.pop("record_sha256")) == 64
    assert timing.pop("node") and timing.pop("gpus") == [] and timing.pop("slurm_job") is None
    assert timing == {
        "images": 22, "batch_size": 4, "precision": "fp32", "network_evaluations": 50,
    }  # fmt: skip


def test_two_jobs_side_by_side_give_the_bytes_of_one(tmp_path):
    program = Program(tmp_path, scheduler="euler-ancestral")
    jobs = [program.start(8, 13), program.start(0, 7)]
    for job in jobs:
        _, printed = job.communicate(timeout=120)
        assert job.returncode == 0, printed
    pieces = np.concatenate([np.load(program.output(0, 7)), np.load(program.output(8, 13))])
    assert (pieces == images(sampler(scheduler="euler-ancestral"), 0, 13)).all()


def test_the_program_refuses_weights_that_are_not_the_manifests(tmp_path):
    program = Program(tmp_path)
    save_file(build_model(MODEL, 1, seed=9).state_dict(), program.weights)
    process = program.start(0, 3)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "not the weights that its manifest names" in printed
    assert not program.folder.exists()
