"""The config file: what is refused, how, and what makes a stage stale."""

import copy
import json

import pytest
import yaml
from places import REPOSITORY

from ddpm_bench.config.block import run_keys
from ddpm_bench.config.documentation import config_reference, config_schema
from ddpm_bench.config.loading import check_config, read_config
from ddpm_bench.config.sampling import SampleStage, expanded_timesteps
from ddpm_bench.errors import UserError
from ddpm_bench.planning import stages

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())


@pytest.fixture
def raw():
    return copy.deepcopy(DEMO)


def problems(raw) -> str:
    with pytest.raises(UserError) as caught:
        check_config(raw, origin="my.yaml")
    return str(caught.value)


def test_the_demo_is_valid(raw):
    config = check_config(raw)
    assert config.experiments["digits"].train.steps == 1200


def test_an_unknown_key_is_named_with_its_nearest_known_one(raw):
    raw["experiments"]["digits"]["train"]["lerning_rate"] = 0.1
    text = problems(raw)
    assert (
        "experiments.digits.train.lerning_rate: unknown key; did you mean 'learning_rate'?" in text
    )
    assert "allowed: batch_size" in text


def test_all_wrong_keys_are_reported_at_once(raw):
    raw["experiments"]["digits"]["train"]["precision"] = "fp8"
    raw["experiments"]["digits"]["train"]["batch_size"] = -1
    raw["experiments"]["digits"]["dataset"] = "digts"
    raw["datasets"]["digits"]["source"] = {"kind": "git", "url": "x://y", "comit": "0"}
    text = problems(raw)
    for line in (
        "experiments.digits.train.precision = 'fp8': must be fp32, bf16 or fp16",
        "experiments.digits.train.batch_size = -1: must be above 0",
        "experiments.digits.dataset = 'digts': no such dataset; did you mean 'digits'?",
        "datasets.digits.source.url = 'x://y'",
        "datasets.digits.source.commit: is missing",
        "datasets.digits.source.comit: unknown key; did you mean 'commit'?",
    ):
        assert line in text
    assert "my.yaml has 6 problems" in text


def test_what_does_not_fit_together_is_reported_beside_other_problems(raw):
    train = raw["experiments"]["digits"]["train"]
    train.update(steps=1000, batch_size=63, run={"gpus": 2, "steps_per_job": 500})
    raw["experiments"]["digits"]["samples"] = {
        "long": {"images": 10, "steps": 5000},
        "noisy": {"images": 10, "eta": 0.5, "batch_size": 8, "run": {"images_per_job": 100}},
    }
    text = problems(raw)
    for line in (
        "steps = 1000 must be a multiple",
        "run.steps_per_job = 500 must be a multiple",
        "run.gpus = 2: batch_size = 63 does not divide over 2 processes",
        "samples.long.steps = 5000: exceeds diffusion.timesteps",
        "eta = 0.5 is an option of ddim",
        "images_per_job = 100 must be a multiple of batch_size = 8; the nearest that are: 96 or",
    ):
        assert line in text


def test_a_wrong_default_is_reported_once_and_where_it_stands(raw):
    del raw["experiments"]["digits"]["train"]["precision"]
    raw["experiments"]["second"] = copy.deepcopy(raw["experiments"]["digits"])
    raw["defaults"] = {"train": {"precision": "fp8"}}
    assert problems(raw).count("defaults.train.precision = 'fp8'") == 1


def test_defaults_are_merged_under_each_experiment(raw):
    raw["defaults"] = {"train": {"max_grad_norm": 0.5, "batch_size": 8}}
    train = check_config(raw).experiments["digits"].train
    assert (train.max_grad_norm, train.batch_size) == (0.5, 64)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"steps": 1000}, "steps = 1000 must be a multiple of checkpoint_every = 300; "
         "the nearest that are: 900 or 1200"),
        ({"run": {"steps_per_job": 500}}, "run.steps_per_job = 500 must be a multiple of "
         "checkpoint_every = 300; the nearest that are: 300 or 600"),
        ({"run": {"gpus": 2, "nodes": 3}}, "run.gpus = 2 on run.nodes = 3: batch_size = 64 "
         "does not divide over 6 processes"),
        ({"run": {"gpus": 3}}, "batch_size = 64 does not divide over 3 processes; "
         "the nearest that does: 63 or 66"),
        ({"run": {"micro_batch_size": 5}}, "sizes that do: 1, 2, 4, 8, 16, 32, 64"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_divide_are_refused_with_the_nearest_that_do(raw, block, expected):
    raw["experiments"]["digits"]["train"].update(block)
    assert expected in problems(raw)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("samples.dpm20.steps", 2000, "exceeds diffusion.timesteps"),
        ("samples.dpm20.checkpoints", [500], "multiples of 300 up to 1200"),
        ("samples.dpm20.checkpoints", {"every": 500}, "the nearest that fit: 300 or 600"),
        ("samples.dpm20.checkpoints", {"from": 1300}, "multiples of 300 up to 1200"),
        ("samples.dpm20.checkpoints", {"from": 400, "to": 500}, "multiples of 300 up to 1200"),
        ("samples.dpm20.checkpoints", {"from": 900, "to": 300}, "swap them"),
        ("samples.dpm20.checkpoints", {"evry": 300}, "did you mean 'every'?"),
        ("samples.dpm20.checkpoints", {"first": 300}, "allowed: every, from, to"),
        ("samples.dpm20.checkpoints", "last", "must be all, latest, a list or a block of keys"),
        ("samples.dpm20.eta", 0.5, "remove it"),
        (
            "samples.dpm20",
            {"images": 9, "scheduler": "ddpm", "solver_order": 3},
            "not of ddpm; remove it",
        ),
        (
            "samples.dpm20",
            {"images": 9, "scheduler": "euler-ancestral", "karras_sigmas": True},
            "remove it",
        ),
        (
            "samples.dpm20",
            {"images": 9, "karras_sigmas": True, "timestep_spacing": "leading"},
            "remove one",
        ),
        (
            "samples.dpm20",
            {"images": 9, "timesteps": [{"from": 2000, "to": 9, "every": 5}]},
            "highest is 999",
        ),
        (
            "samples.dpm20",
            {"images": 9, "timesteps": [9, {"from": 9, "to": 0, "every": 1}]},
            "must descend",
        ),
        (
            "samples.dpm20",
            {"images": 9, "timesteps": [{"from": 1, "to": 9, "every": 1}]},
            "swap them",
        ),
        ("scores.classifier.weights", {"path": "x.pth"}, "option of `features: inception`"),
        ("model.dim_mults", [1, 2, 4, 8, 8, 8], "a multiple of 32 is needed"),
        ("dataset", "other", "there are: digits"),
    ],
)
def test_what_does_not_fit_together_is_refused(raw, path, value, expected):
    block = raw["experiments"]["digits"]
    *parents, last = path.split(".")
    for key in parents:
        block = block[key]
    block[last] = value
    assert expected in problems(raw)


@pytest.mark.parametrize(
    ("drawing", "expected"),
    [
        ({"scheduler": "ddpm", "solver_order": 3}, "not of ddpm; remove it"),
        ({"scheduler": "euler-ancestral", "karras_sigmas": True}, "remove it"),
        ({"karras_sigmas": True, "timestep_spacing": "leading"}, "remove one"),
        ({"karras_sigmas": True, "timesteps": [9]}, "remove one"),
        ({"steps": 20, "timesteps": [9]}, "timesteps and steps both"),
        ({"timesteps": [1000, 9]}, "the highest is 999"),
        ({"timesteps": [{"from": 2000, "to": 9, "every": 5}]}, "the highest is 999"),
        ({"timesteps": [9, {"from": 9, "to": 0, "every": 1}]}, "has 9 after 9: they must descend"),
        ({"timesteps": [{"from": 1, "to": 9, "every": 1}]}, "samples.short.timesteps.0: from = 1"),
        ({"timesteps": [{"from": 9, "every": 1}]}, "samples.short.timesteps.0.to: is missing"),
        (
            {"timesteps": [{"frm": 9, "to": 1, "every": 1}]},
            "0.frm: unknown key; did you mean",
        ),
        ({"timesteps": []}, "at least 1"),
    ],
)
def test_options_of_a_sampler_that_do_not_fit_are_refused(raw, drawing, expected):
    raw["experiments"]["digits"]["samples"] = {"short": {"images": 9, **drawing}}
    assert expected in problems(raw)


def test_timesteps_are_numbers_and_ranges_and_survive_the_way_to_a_job(raw):
    """Few steps at first, many in the end."""
    samples = raw["experiments"]["digits"]["samples"]["dpm20"]
    del samples["steps"]
    samples["timesteps"] = [
        {"from": 999, "to": 219, "every": 20},
        205,
        {"from": 199, "to": 0, "every": 1},
    ]
    what = stages.sample_stage(check_config(raw), "digits", "dpm20", 300)
    drawing = SampleStage.model_validate_json(what).drawing
    expected = [*range(999, 218, -20), 205, *range(199, -1, -1)]
    assert expanded_timesteps(drawing.timesteps) == expected
    assert drawing.solver_steps() == len(expected)


def test_a_reference_needs_held_out_images(raw):
    raw["experiments"]["digits"]["scores"]["classifier"]["reference"] = "eval"
    del raw["datasets"]["digits"]["eval_fraction"]
    assert "holds nothing out" in problems(raw)


def test_two_weights_files_cannot_share_a_feature_space(raw):
    weights = [{"path": "a", "sha256": digit * 64, "name": "mine"} for digit in "12"]
    raw["experiments"]["digits"]["scores"] = {
        f"s{index}": {"features": "inception", "weights": item}
        for index, item in enumerate(weights)
    }
    assert "two files of weights" in problems(raw)


def test_two_files_of_statistics_cannot_share_a_name(raw):
    raw["experiments"]["digits"]["scores"] = {
        f"s{path}": {"features": "inception", "fid_statistics": {"path": path, "name": "theirs"}}
        for path in "ab"
    }
    assert "two files of statistics have the name 'theirs'" in problems(raw)


OWN = {"path": "x", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ({"features": "dinov2"}, "needs local `weights: {path, sha256, name}`"),
        ({"features": "dinov2", "weights": {**OWN, "name": "vit-x"}}, "vit-s-14, vit-b-14"),
        (
            {
                "features": "dinov2",
                "weights": {**OWN, "name": "vit-s-14"},
                "fid_backend": "pytorch-fid",
            },
            "`fid_backend: pytorch-fid` is Inception's",
        ),
        (
            {"features": "classifier", "fid_statistics": {"path": "x", "name": "theirs"}},
            "`fid_statistics` are of Inception's features",
        ),
        (
            {"features": "inception", "fid_statistics": {"path": "x", "name": "train"}},
            "in tables it would look like a split",
        ),
        (
            {"features": "inception", "fid_bootstrap": 20},
            "scores.mine: `fid_bootstrap` is no key any more: FID's standard deviation has a "
            "formula and needs no resamples (docs/scores.md); remove it",
        ),
        (
            {"features": "inception", "kid_subsets": 50},
            "kid_subsets = 50 needs a `kid_subset_size`: without one KID is over all pairs",
        ),
    ],
)  # fmt: skip
def test_a_score_that_cannot_be_had_is_refused(raw, score, expected):
    raw["experiments"]["digits"]["scores"] = {"mine": score}
    assert expected in problems(raw)


@pytest.mark.parametrize("name", ["a b", "../x", "x;rm", ""])
def test_names_that_are_not_plain_are_refused(raw, name):
    raw["experiments"][name] = raw["experiments"].pop("digits")
    assert "experiments" in problems(raw)


def test_folders_of_the_results_are_no_experiments(raw):
    raw["experiments"]["report"] = raw["experiments"].pop("digits")
    assert "experiments.report" in problems(raw)


def test_broken_yaml_and_a_missing_file_are_one_clear_error(tmp_path):
    path = tmp_path / "my.yaml"
    with pytest.raises(UserError, match="cannot be read"):
        read_config(path)
    path.write_text("a: [1")
    with pytest.raises(UserError, match="is not valid YAML"):
        read_config(path)


def test_the_reference_and_the_schema_are_current():
    assert (REPOSITORY / "config" / "README.md").read_text() == config_reference(), "make docs"
    assert (REPOSITORY / "config" / "schema.json").read_text() == config_schema(), "make docs"


def test_every_key_has_a_meaning_in_the_reference():
    rows = [line for line in config_reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if row.endswith("|  |")] == []


def test_keys_at_their_defaults_do_not_change_a_stage(raw):
    before = stages.train_stage(check_config(raw), "digits")
    raw["experiments"]["digits"]["train"]["max_grad_norm"] = 1.0
    raw["experiments"]["digits"]["diffusion"]["timesteps"] = 1000
    assert stages.train_stage(check_config(raw), "digits") == before


def test_the_order_of_keys_does_not_change_a_stage(raw):
    before = stages.train_stage(check_config(raw), "digits")
    train = raw["experiments"]["digits"]["train"]
    raw["experiments"]["digits"]["train"] = dict(reversed(train.items()))
    assert stages.train_stage(check_config(raw), "digits") == before


def test_run_keys_and_the_number_of_steps_do_not_change_a_stage(raw):
    before = stages.train_stage(check_config(raw), "digits")
    train = raw["experiments"]["digits"]["train"]
    train.update(steps=2400, run={"gpus": 2, "save_seconds": 1, "steps_per_job": 300})
    config = check_config(raw)
    assert stages.train_stage(config, "digits") == before
    assert json.loads(run_keys(config.experiments["digits"].train.run)) == {
        "gpus": 2, "save_seconds": 1.0, "steps_per_job": 300,
    }  # fmt: skip


def test_a_what_key_changes_its_own_stage_only(raw):
    def identities(config):
        return {
            "prepare": stages.prepare_stage(config, "digits"),
            "train": stages.train_stage(config, "digits"),
            "sample": stages.sample_stage(config, "digits", "dpm20", 300),
            "score": stages.score_stage(config, "digits", "dpm20", "classifier"),
        }

    before = identities(check_config(raw))
    raw["experiments"]["digits"]["samples"]["dpm20"]["seed"] = 1
    after = identities(check_config(raw))
    assert {name for name in before if before[name] != after[name]} == {"sample"}


def benchmark(**keys) -> dict:
    """A benchmark of one small model, with other keys."""
    unet = {"name": "unet", "dim": 8, "dim_mults": [1, 2, 4]}
    return {"models": {"small": unet}, **keys}


def test_a_benchmark_needs_neither_experiments_nor_datasets():
    assert check_config({"benchmark": benchmark()}).experiments == {}


@pytest.mark.parametrize("empty", [{}, {"experiments": {}}, {"datasets": DEMO["datasets"]}])
def test_a_config_with_nothing_to_do_is_refused(empty):
    assert "nothing to do: give `experiments`" in problems(empty)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"dataset": "digts"}, "benchmark.dataset = 'digts': no such dataset; did you mean 'di"),
        (
            {"models": {"m": {"name": "experiment", "experiment": "digit"}}},
            "models.m.experiment = 'digit': no such experiment; did you mean 'digits'?",
        ),
        ({"image_size": 30}, "image_size = 30: benchmark.models.small halves images 2 times"),
        ({"models": {"m": {"name": "resnet"}}}, "benchmark.models.m"),
        ({"strategies": ["ddp", "ddp"]}, "give each value once"),
        ({"strategies": ["dpp"]}, "benchmark.strategies.0 = 'dpp'"),
        ({"bach_size": [8]}, "benchmark.bach_size: unknown key; did you mean 'batch_size'?"),
        ({"warmup_steps": 2}, "benchmark.warmup_steps = 2: must be above 2"),
    ],
)
def test_what_is_wrong_in_a_benchmark_is_refused(raw, keys, expected):
    assert expected in problems({**raw, "benchmark": benchmark(**keys)})


def test_a_benchmark_on_images_that_a_network_cannot_halve_is_refused(raw):
    raw["datasets"]["digits"]["image_size"] = 18
    raw["experiments"]["digits"]["model"] = {"name": "unet", "dim_mults": [1, 2]}
    text = problems({**raw, "benchmark": benchmark(dataset="digits")})
    assert "datasets.digits.image_size = 18: benchmark.models.small halves images 2 times" in text
    assert "1 problem" in text


def test_a_benchmark_beside_wrong_experiments_is_checked_too(raw):
    raw["experiments"]["digits"]["dataset"] = "digts"
    text = problems({**raw, "benchmark": benchmark(dataset="digts")})
    assert "my.yaml has 2 problems" in text
