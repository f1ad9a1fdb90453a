"""Export of an experiment's best checkpoint, used by somebody without this project."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from fake_results import score, write_samples, write_score
from PIL import Image
from safetensors.torch import load_file, save_file
from small_trainer import UNET, UNET2D, run_to_end, small_stage

from ddpm_bench.config.loading import check_config
from ddpm_bench.config.selection import BestStage
from ddpm_bench.errors import UserError
from ddpm_bench.export.export import export_best
from ddpm_bench.files import read_json, sha256, write_json
from ddpm_bench.latents.encoding import open_decoder
from ddpm_bench.models.autoencoder import build_autoencoder
from ddpm_bench.planning.stages import config_of_one_experiment
from ddpm_bench.report.tables import score_tables
from ddpm_bench.report.terminal.run_summary import exported
from ddpm_bench.training.thinning import Checkpoint, thin

IMAGES = {"train": 20, "eval": 5}


def raw_config(model: dict = UNET, **experiment) -> dict:
    """Return the config of an experiment named small, with checkpoints at 10 and 20."""
    return {
        "datasets": {
            "digits": {
                "source": {"kind": "sklearn-digits"}, "image_size": 8, "channels": 1,
                "run": {"cpus": 1},
            }
        },
        "experiments": {
            "small": {
                "dataset": "digits",
                "model": model,
                "train": {
                    "steps": 20, "batch_size": 8, "checkpoint_every": 10, "learning_rate": 1e-3,
                    "run": {"cpus": 1},
                },
                "samples": {"dpm20": {"images": 16, "steps": 4, "run": {"cpus": 1}}},
                "scores": {"classifier": {"features": "classifier", "run": {"cpus": 1}}},
                "best": {"metric": "fid"},
                **experiment,
            }
        },
    }  # fmt: skip


class Study:
    """A trained experiment with made-up scores; `export` writes its best folder."""

    def __init__(self, folder: Path, model: dict = UNET, raw: dict | None = None, **train) -> None:
        self.results = folder
        self.training = run_to_end(folder, small_stage(model, **train), last=20)
        self.config = check_config(raw or raw_config(model))
        self.manifest = folder / "small" / "training" / "job-00000000-00000020.json"
        write_json(self.manifest, self.training_manifest(train.get("ema_sigma_rels", [])))
        self.best = folder / "small" / "best"
        for step in (10, 20):
            write_samples(folder, "small", step, size=8)

    def training_manifest(self, sigma_rels: list[float]) -> dict:
        entries = []
        for step in (10, 20):
            for sigma_rel in (None, *sigma_rels):
                file = self.training.checkpoints.file(step, sigma_rel).name
                path = self.results / "small" / "checkpoints" / file
                about = {} if sigma_rel is None else {"ema_sigma_rel": sigma_rel}
                named = {"step": step, "file": f"checkpoints/{file}", "sha256": sha256(path)}
                entries.append(named | about)
        return {"fingerprint": self.training.name, "checkpoints": entries}

    def export(self, fids: dict[int, float | None], samples: str = "dpm20"):
        files = [
            write_score(
                self.results, "small", samples, "classifier", step,
                score(0.5, fid=fid, fid_std=None, warning="a warning" if step == 10 else None),
            )
            for step, fid in fids.items()
        ]  # fmt: skip
        evaluation = score_tables.evaluation_table(files, experiment="small", dataset="digits")
        stage = BestStage(
            version=1, experiment="small", config=config_of_one_experiment(self.config, "small")
        )
        folder = self.results / "small"
        return export_best(stage, evaluation, [self.manifest], IMAGES, folder, self.best)

    def weights(self, step: int) -> Path:
        return self.results / "small" / "checkpoints" / f"step-{step:08}.safetensors"


VQVAE = {
    "name": "vqvae", "channels": 8, "norm_num_groups": 4, "downsampling": 2, "latent_channels": 1,
    "codebook_size": 16, "residual_quantizers": 2, "codebook_dim": 3, "layers_per_block": 1,
}  # fmt: skip


def latent_study(folder: Path) -> Study:
    """Make an experiment in latents of 8x8, decoded to 16x16 by a random autoencoder."""
    raw = raw_config(autoencoder="vq")
    raw["datasets"]["digits"]["image_size"] = 16
    train = raw["experiments"]["small"]["train"]
    raw["autoencoders"] = {"vq": {"dataset": "digits", "model": VQVAE, "train": train}}
    study = Study(folder, raw=raw)
    keys = study.config.autoencoders["vq"].model
    path = folder / "small" / "checkpoints" / "autoencoder.safetensors"
    save_file(build_autoencoder(keys, 1, seed=1).state_dict(), path)
    manifest = read_json(study.manifest)
    about = {"file": "checkpoints/autoencoder.safetensors", "sha256": sha256(path), "step": 20}
    about |= {"channels": 1, "keys": keys.model_dump(mode="json", exclude_defaults=True)}
    write_json(study.manifest, manifest | {"autoencoder": {**about, "mean": [0.5], "std": [2.0]}})
    return study


def run_alone(best: Path, folder: Path) -> Path:
    """Run sample.py of a copy in an empty folder, isolated from this repository."""
    shutil.copytree(best, folder / "best")
    (folder / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-I", folder / "best" / "sample.py"],
        cwd=folder / "empty", capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    source = (best / "sample.py").read_text()
    assert "ddpm_bench" not in source
    return folder / "empty" / "samples.png"


@pytest.mark.parametrize("model", [UNET, UNET2D | {"self_condition": True}])
def test_the_program_draws_in_an_empty_folder_with_nothing_of_ours(tmp_path, model):
    study = Study(tmp_path / "results", model)
    study.export({10: 5.0, 20: 9.0})
    with Image.open(run_alone(study.best, tmp_path)) as picture:
        assert picture.size == (4 * 8, 4 * 8)
        assert np.asarray(picture).std() > 10, "images, and not a flat grey"


def test_latents_are_decoded_by_the_program_as_by_us(tmp_path, monkeypatch):
    study = latent_study(tmp_path / "results")
    study.export({10: 5.0, 20: 9.0})
    with Image.open(run_alone(study.best, tmp_path)) as picture:
        assert picture.size == (4 * 16, 4 * 16)
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(study.best / "sample.py"))
    latents = torch.randn(4, 1, 8, 8, generator=torch.manual_seed(5))
    ours = open_decoder(study.manifest, torch.device("cpu"))
    with torch.inference_mode():
        scaled = (latents * found["std"].cpu() + found["mean"].cpu()).flatten(2).transpose(1, 2)
        codes = found["codebooks"].cpu()(scaled)[0].transpose(1, 2).reshape(latents.shape)
        theirs = found["decoder"].cpu()(codes)
    assert ours.images(latents).std() > 0.01, "an image, and not a flat one"
    torch.testing.assert_close(theirs, ours.images(latents), rtol=1e-4, atol=1e-5)
    assert "codebooks and decoder" in (study.best / "README.md").read_text()
    again = check_config(yaml.safe_load((study.best / "config.yaml").read_text()))
    assert again.autoencoders["vq"].model == study.config.autoencoders["vq"].model


def test_the_winner_is_exported_as_it_was_trained(tmp_path):
    study = Study(tmp_path)
    best = study.export({10: 5.0, 20: 9.0})
    weights = study.best / "model.safetensors"
    assert best.step == 10 and weights.samefile(study.weights(10))
    record = read_json(study.best / "scores.json")
    assert record["weights_sha256"] == sha256(weights) == best.sha256
    assert (record["training_step"], record["value"], record["std"]) == (10, 5.0, None)
    assert [row["training_step"] for row in record["scores"]] == [10]
    card = (study.best / "README.md").read_text()
    assert "moving average, decay 0.995 (0.55 at this step of its warm-up)" in card
    with Image.open(study.best / "grid.png") as grid:
        assert grid.size == (4 * 50 + 2, 4 * 50 + 2), "16 images, enlarged six times"


def test_another_winner_takes_the_place_of_the_one_before(tmp_path):
    study = Study(tmp_path)
    study.export({10: 5.0, 20: 9.0})
    study.export({10: 5.0, 20: 4.0})
    assert (study.best / "model.safetensors").samefile(study.weights(20))
    assert study.weights(10).exists()


def test_no_decoder_stays_of_when_the_experiment_was_in_latents(tmp_path):
    study = Study(tmp_path)
    study.best.mkdir(parents=True)
    (study.best / "decoder.safetensors").write_bytes(b"old")
    study.export({10: 5.0})
    assert not (study.best / "decoder.safetensors").exists()


def test_the_export_stays_when_its_checkpoint_goes(tmp_path):
    study = Study(tmp_path)
    best = study.export({10: 5.0, 20: 9.0})
    latest = Checkpoint(20, None, study.weights(20).name, sha256(study.weights(20)))
    thin(study.training, {latest: "the latest"})
    assert not study.weights(10).exists()
    assert sha256(study.best / "model.safetensors") == best.sha256


def test_where_keep_removed_the_best_the_next_is_exported_and_the_card_says_so(tmp_path):
    study = Study(tmp_path)
    latest = Checkpoint(20, None, study.weights(20).name, sha256(study.weights(20)))
    thin(study.training, {latest: "the latest"})
    assert study.export({10: 5.0, 20: 9.0}).step == 20
    card = (study.best / "README.md").read_text()
    assert "step 10 had FID 5, but `keep` had removed its weights" in card
    assert read_json(study.best / "scores.json")["better_but_removed_by_keep"] == [10]


def test_of_equal_checkpoints_the_earliest_is_exported_and_the_card_says_so(tmp_path):
    study = Study(tmp_path)
    assert study.export({10: 5.0, 20: 5.0}).step == 10
    card = " ".join((study.best / "README.md").read_text().split())
    assert "As good by it: 1 other checkpoint; of equal ones the earliest is exported." in card
    study.export({10: 5.0, 20: 9.0})
    assert "As good by it" not in (study.best / "README.md").read_text()


def test_damaged_weights_are_not_exported(tmp_path):
    study = Study(tmp_path)
    study.weights(10).write_bytes(b"something else")
    with pytest.raises(UserError, match="sha256 differs"):
        study.export({10: 5.0, 20: 9.0})
    assert not (study.best / "model.safetensors").exists()


def test_a_set_drawn_from_another_average_exports_that_average(tmp_path):
    raw = raw_config()
    experiment = raw["experiments"]["small"]
    experiment["train"]["ema_sigma_rels"] = [0.1]
    experiment["samples"]["dpm20"]["ema_sigma_rel"] = 0.1
    study = Study(tmp_path, raw=raw, ema_sigma_rels=[0.1])
    study.export({10: 5.0, 20: 9.0})
    assert (study.best / "model.safetensors").samefile(
        study.weights(10).with_suffix(".ema-0.1.safetensors")
    )
    assert "relative width 0.1" in (study.best / "README.md").read_text()


def test_without_a_measured_value_the_card_says_why_and_nothing_old_stays(tmp_path):
    study = Study(tmp_path)
    study.export({10: 5.0, 20: 9.0})
    assert study.export({10: None, 20: None}) is None
    assert {path.name for path in study.best.iterdir()} == {
        "README.md", "config.yaml", "grid.png", "scores.json",
    }  # fmt: skip
    card = (study.best / "README.md").read_text().replace("\n", " ")
    assert "FID was measured at no checkpoint by score classifier of samples dpm20" in card
    assert read_json(study.best / "scores.json")["value"] is None


def test_the_card_is_one_that_the_hub_reads(tmp_path):
    study = Study(tmp_path)
    study.export({10: 5.0, 20: 9.0})
    card = huggingface_hub.ModelCard.load(study.best / "README.md")
    found = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert found["FID (classifier features), samples dpm20"] == 5.0
    assert {result.dataset_type for result in card.data.eval_results} == {"digits"}
    for text in ("20 images to train on", "Warning: a warning", "1,437 (train)", "512"):
        assert text in card.text, text


def test_the_exported_config_is_the_experiment_without_how_it_was_run(tmp_path):
    study = Study(tmp_path)
    study.export({10: 5.0})
    text = (study.best / "config.yaml").read_text()
    assert "run:" not in text
    again = check_config(yaml.safe_load(text))
    ours = study.config.experiments["small"]
    assert config_of_one_experiment(again, "small") == config_of_one_experiment(
        study.config, "small"
    )
    assert again.experiments["small"].train.learning_rate == ours.train.learning_rate
    assert again.experiments["small"].samples["dpm20"].images == 16


def test_where_given_weights_lay_is_no_part_of_the_export():
    raw = raw_config()
    given = {"path": "here.safetensors", "sha256": "0" * 64}
    raw["experiments"]["small"]["train"]["init_from"] = given
    alone = config_of_one_experiment(check_config(raw), "small")["experiments"]["small"]["train"]
    assert alone["init_from"] == {"path": "", "sha256": "0" * 64}


def test_a_summary_says_where_the_export_lies(tmp_path):
    study = Study(tmp_path)
    assert list(exported(study.best)) == []
    study.export({10: 5.0, 20: 9.0})
    (line,) = exported(study.best)
    assert line.startswith(f"exported: step 10, {study.best}")
    study.export({10: None})
    (line,) = exported(study.best)
    assert "FID was measured at no checkpoint" in line


def test_the_weights_load_into_the_network_of_the_config(tmp_path):
    from ddpm_bench.models.denoiser import build_model

    study = Study(tmp_path)
    study.export({10: 5.0})
    again = check_config(yaml.safe_load((study.best / "config.yaml").read_text()))
    model = build_model(again.experiments["small"].model, 1)
    model.load_state_dict(load_file(study.best / "model.safetensors"))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


@pytest.mark.parametrize(
    ("best", "message"),
    [
        ({"metric": "fid", "samples": "dpm2"}, "no such set of samples; there are: dpm20"),
        ({"metric": "fid", "score": "inception"}, "no such score; there are: classifier"),
        ({"metric": "is", "greater_is_better": False}, "a higher is is the better one"),
        ({"metric": "kid", "greater_is_better": True}, "a lower kid is the better one"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(best, message):
    with pytest.raises(UserError, match=message):
        check_config(raw_config(best=best))


def test_of_several_sets_one_must_be_named():
    samples = {name: {"images": 16} for name in ("a", "b")}
    with pytest.raises(UserError, match="name the set of samples that decides; there are: a, b"):
        check_config(raw_config(samples=samples))
    check_config(raw_config(samples=samples, best={"metric": "kid", "samples": "b"}))
