"""What is refused of autoencoders and of experiments in their latents, before anything runs."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from places import REPOSITORY

from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.config.loading import check_config
from ddpm_bench.config.training import TrainStage
from ddpm_bench.config.versions import VERSIONS
from ddpm_bench.errors import UserError
from ddpm_bench.planning import benchmark_cells, jobs, stages
from ddpm_bench.report.terminal.run_summary import reconstructions

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
VQ = {
    "dataset": "digits",
    "model": {"name": "vqvae", "channels": 32, "downsampling": 4},
    "train": {"steps": 100, "batch_size": 64, "checkpoint_every": 50},
}


@pytest.fixture
def raw():
    """The demo's experiment in latents of 4x4 pixels."""
    config = copy.deepcopy(DEMO)
    config["autoencoders"] = {"vq": copy.deepcopy(VQ)}
    config["experiments"]["digits"]["autoencoder"] = "vq"
    config["experiments"]["digits"]["model"]["dim_mults"] = [1, 2]
    return config


def problems(raw) -> str:
    with pytest.raises(UserError) as caught:
        check_config(raw)
    return str(caught.value)


def test_an_experiment_in_latents_is_trained_on_them(raw):
    config = check_config(raw)
    assert list(config.trainings) == ["vq", "digits"]
    assert jobs.training_images(config, "digits", "train") == "results/vq/latents/train.npy"
    assert jobs.training_images(config, "vq", "train") == "results/datasets/digits/train.npy"
    stage = TrainStage.model_validate_json(stages.train_stage(config, "digits"))
    assert stage.latents is not None and (stage.latents.channels, stage.latents.size) == (4, 4)


def test_reconstructions_without_any_error_are_told_too(raw, tmp_path):
    config = check_config({**raw, "results_dir": str(tmp_path)})
    path = Path(jobs.reconstruction_files(config, "vq", "summary.json")[-1])
    path.parent.mkdir(parents=True)
    told = {"step": 100, "images": 7, "mse": 0.0, "psnr_db": None, "codebooks": [], "warning": ""}
    path.write_text(json.dumps(told))
    first, _ = reconstructions(config, "vq")
    assert first.endswith("at step 100: mean squared error 0, PSNR infinite")


def test_a_benchmark_measures_a_network_of_latents_on_random_latents(raw):
    models = {"d": {"name": "experiment", "experiment": "digits"}}
    for dataset in ({}, {"dataset": "digits"}):
        config = check_config({**raw, "benchmark": {"models": models, **dataset}})
        (cell,) = [
            one for one in benchmark_cells.cells(config.benchmark) if one.strategy == "single"
        ]
        given = CellStage.model_validate_json(stages.cell_stage(config, cell))
        assert (given.measuring.image_size, given.measuring.channels) == (4, 4)
        assert given.dataset is None and jobs.images_of_cell(config, cell) == []
        assert benchmark_cells.benchmark_datasets(config) == []


def test_a_stage_without_an_autoencoder_has_no_word_of_it():
    config = check_config(copy.deepcopy(DEMO))
    for text in (
        stages.train_stage(config, "digits"),
        stages.sample_stage(config, "digits", "dpm5", 300),
    ):
        assert not {"latents", "autoencoder"} & set(json.loads(text))


def test_a_new_loss_of_autoencoders_retrains_them_alone(raw, monkeypatch):
    config = check_config(raw)
    made = (stages.train_stage, stages.validate_stage)
    before = {name: [stage(config, name) for stage in made] for name in ("vq", "digits")}
    monkeypatch.setitem(VERSIONS, "autoencoder", VERSIONS["autoencoder"] + 1)
    after = {name: [stage(config, name) for stage in made] for name in before}
    assert after["digits"] == before["digits"]
    assert all(new != old for new, old in zip(after["vq"], before["vq"], strict=True))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            "experiments.digits.autoencoder", "qv",
            "experiments.digits.autoencoder = 'qv': no such autoencoder; there are: vq",
        ),
        (
            "experiments.digits.model.dim_mults", [1, 2, 2, 2],
            "datasets.digits.image_size / autoencoders.vq.model.downsampling = 4: "
            "experiments.digits.model halves images 3 times",
        ),
        (
            "experiments.digits.train.horizontal_flips", True,
            "experiments.digits.train.horizontal_flips: flipped latents are not those of flipped",
        ),
        (
            "autoencoders.vq.dataset", "digts",
            "autoencoders.vq.dataset = 'digts': no such dataset; did you mean 'digits'?",
        ),
        (
            "autoencoders.vq.model.downsampling", 3,
            "autoencoders.vq.model.downsampling = 3: must be 2, 4, 8 or 16",
        ),
        (
            "autoencoders.vq.model.channels", 40,
            "channels = 40 must be a multiple of norm_num_groups = 32",
        ),
        (
            "autoencoders.vq.train.min_snr_gamma", 5,
            "train.min_snr_gamma is an option of diffusion models; remove it",
        ),
        (
            "autoencoders.vq.reconstructions", {"checkpoints": [60]},
            "autoencoders.vq.reconstructions.checkpoints has [60]: there are checkpoints at",
        ),
        ("datasets.digits.image_size", 18, "image_size = 18: autoencoders.vq.model halves"),
        ("autoencoders.vq.model.codebok_size", 8, "unknown key; did you mean 'codebook_size'?"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value and " " not in value else "",
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_remedy(raw, path, value, said):
    *blocks, key = path.split(".")
    block = raw
    for part in blocks:
        block = block[part]
    block[key] = value
    assert said in problems(raw)


def test_an_autoencoder_of_another_dataset_is_refused(raw):
    raw["datasets"]["others"] = copy.deepcopy(raw["datasets"]["digits"])
    raw["autoencoders"]["vq"]["dataset"] = "others"
    assert "is trained on dataset others, the experiment on digits; give both one" in problems(raw)


def test_names_of_autoencoders_and_experiments_differ(raw):
    raw["autoencoders"]["digits"] = copy.deepcopy(VQ)
    assert "autoencoders.digits: an experiment has this name too" in problems(raw)


def test_scores_against_held_out_images_need_some(raw):
    raw["datasets"]["digits"]["eval_fraction"] = 0
    raw["autoencoders"]["vq"]["scores"] = {"own": {"features": "classifier", "reference": "eval"}}
    assert "autoencoders.vq.scores.own.reference = 'eval': dataset digits holds" in problems(raw)


def test_a_config_may_train_an_autoencoder_alone():
    alone = {"datasets": DEMO["datasets"], "autoencoders": {"vq": VQ}}
    assert list(check_config(alone).trainings) == ["vq"]
