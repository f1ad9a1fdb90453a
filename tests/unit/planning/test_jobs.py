"""Jobs are cut by what lies on disk: what is done stands, only the rest is cut."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from places import REPOSITORY

from ddpm_bench.config.loading import check_config
from ddpm_bench.errors import UserError
from ddpm_bench.planning import jobs, local_inputs, stages
from ddpm_bench.planning.jobs import training_jobs

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())


def config(tmp_path, **train):
    raw = copy.deepcopy(DEMO)
    raw["results_dir"] = str(tmp_path)
    run = train.pop("run", {})
    raw["experiments"]["digits"]["train"].update(train, run=run)
    return check_config(raw)


@pytest.mark.parametrize(
    ("end", "per_job", "done", "expected"),
    [
        (1200, None, set(), [(0, 1200)]),
        (1200, 500, set(), [(0, 500), (500, 1000), (1000, 1200)]),
        (1800, 600, {(0, 600), (600, 1200)}, [(0, 600), (600, 1200), (1200, 1800)]),
        # another steps_per_job in the middle: what is done stands
        (1200, 300, {(0, 600)}, [(0, 600), (600, 900), (900, 1200)]),
        # more steps after a short last job
        (1600, 600, {(0, 600), (600, 1000)}, [(0, 600), (600, 1000), (1000, 1600)]),
        # fewer steps: a finished job that goes beyond stands
        (900, 600, {(0, 600), (600, 1200)}, [(0, 600), (600, 1200)]),
        # a finished piece that nothing leads to is not used
        (900, 300, {(100, 900)}, [(0, 300), (300, 600), (600, 900)]),
    ],
)
def test_finished_pieces_stand_and_the_rest_is_cut(end, per_job, done, expected):
    assert jobs.cut(end, per_job, done) == expected


def test_only_names_that_match_wholly_count_as_finished(tmp_path):
    folder = tmp_path / "digits" / "training"
    folder.mkdir(parents=True)
    (folder / "job-00000000-00000300.json").touch()
    for name in ("job-00000300-00000600.json.partial", ".job-00000300-00000600.1.partial.json"):
        (folder / name).touch()
    jobs = training_jobs(config(tmp_path, run={"steps_per_job": 900}), "digits")
    assert jobs == [(0, 300), (300, 1200)]


def test_every_checkpoint_is_made_by_one_job(tmp_path):
    checked = config(tmp_path, run={"steps_per_job": 600})
    made_by = [
        jobs.manifest_of_checkpoint(checked, "digits", step) for step in (300, 600, 900, 1200)
    ]
    assert [Path(path).name for path in made_by] == [
        "job-00000000-00000600.json", "job-00000000-00000600.json",
        "job-00000600-00001200.json", "job-00000600-00001200.json",
    ]  # fmt: skip


def test_every_job_has_validation_losses_unless_nothing_is_held_out(tmp_path):
    run = {"steps_per_job": 600}
    files = jobs.validations(config(tmp_path, run=run), "digits")
    assert [Path(path).name for path in files] == [
        "validation-00000000-00000600.csv", "validation-00000600-00001200.csv",
    ]  # fmt: skip
    raw = copy.deepcopy(DEMO)
    raw["experiments"]["digits"]["validation"] = {"images": 0}
    assert jobs.validations(check_config(raw), "digits") == []
    raw = copy.deepcopy(DEMO)
    raw["datasets"]["digits"]["eval_fraction"] = 0
    assert jobs.validations(check_config(raw), "digits") == []


@pytest.mark.parametrize(
    ("chosen", "steps"),
    [
        ("all", [300, 600, 900, 1200]),
        ("latest", [1200]),
        ([900, 300], [300, 900]),
        ({}, [300, 600, 900, 1200]),
        ({"every": 600}, [600, 1200]),
        ({"from": 400}, [600, 900, 1200]),
        ({"to": 900}, [300, 600, 900]),
        ({"every": 600, "from": 700, "to": 1200}, [1200]),
    ],
)
def test_checkpoints_of_a_set(tmp_path, chosen, steps):
    raw = copy.deepcopy(DEMO)
    raw["experiments"]["digits"]["samples"]["dpm20"]["checkpoints"] = chosen
    assert jobs.checkpoint_steps(check_config(raw), "digits", "dpm20") == steps


def test_a_set_is_cut_into_files_that_cover_it(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["results_dir"] = str(tmp_path)
    raw["experiments"]["digits"]["samples"]["dpm20"]["run"] = {"images_per_job": 256}
    files = jobs.sample_files(check_config(raw), "digits", "dpm20", 300)
    assert [Path(file).name for file in files] == [
        "images-000000-000255.npy", "images-000256-000511.npy",
    ]  # fmt: skip
    assert Path(files[0]).parent == tmp_path / "digits/samples/dpm20/step-00000300"


def test_each_file_of_samples_has_its_timing_beside_it(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["results_dir"] = str(tmp_path)
    raw["experiments"]["digits"]["samples"]["dpm20"]["run"] = {"images_per_job": 256}
    files = jobs.timing_files(check_config(raw), "digits", "dpm20", 300)
    assert [Path(file).name for file in files] == [
        "images-000000-000255.json", "images-000256-000511.json",
    ]  # fmt: skip


def scored(tmp_path, eval_fraction=0.2, **score):
    """The demo with one more way to score, `inception`."""
    raw = copy.deepcopy(DEMO)
    raw["results_dir"] = str(tmp_path)
    raw["datasets"]["digits"]["eval_fraction"] = eval_fraction
    raw["experiments"]["digits"]["scores"]["inception"] = {"features": "inception", **score}
    return check_config(raw)


def features_of(tmp_path, files):
    folder = tmp_path / "datasets" / "digits" / "features"
    return [Path(file).relative_to(folder).as_posix() for file in files]


@pytest.mark.parametrize(
    ("eval_fraction", "reference", "expected"),
    [
        (0.2, "train", ["inception/train.npz"]),
        (0.2, "eval", ["inception/eval.npz"]),
        (0.2, "all", ["inception/train.npz", "inception/eval.npz"]),
        (0, "all", ["inception/train.npz"]),
    ],
)
def test_a_reference_of_all_images_is_both_splits(tmp_path, eval_fraction, reference, expected):
    given = scored(tmp_path, eval_fraction, reference=reference)
    assert features_of(tmp_path, jobs.reference_files(given, "digits", "inception")) == expected


@pytest.mark.parametrize(
    ("eval_fraction", "expected"), [(0.2, ["inception/eval.npz"]), (0, [])]
)  # fmt: skip
def test_distances_to_training_images_are_compared_with_held_out_ones(
    tmp_path, eval_fraction, expected
):
    given = scored(tmp_path, eval_fraction)
    train = jobs.train_features(given, "digits", "inception")
    assert features_of(tmp_path, [train]) == ["inception/train.npz"]
    heldout = jobs.heldout_features(given, "digits", "inception")
    assert features_of(tmp_path, heldout) == expected


def test_the_pass_of_pytorch_fid_has_features_of_its_own(tmp_path):
    given = scored(tmp_path, fid_backend="pytorch-fid", reference="all")
    files = jobs.fid_reference_files(given, "digits", "inception")
    assert features_of(tmp_path, files) == ["pytorch-fid/train.npz", "pytorch-fid/eval.npz"]
    score = jobs.score_of_space(given, "digits", "pytorch-fid")
    stage = json.loads(stages.feature_stage(score, "pytorch-fid"))
    assert stage["features"] == "pytorch-fid"
    assert json.loads(stages.feature_stage(score, "inception"))["features"] == "inception"


def test_fid_has_no_reference_of_its_own_unless_asked_for(tmp_path):
    assert jobs.fid_reference_files(scored(tmp_path), "digits", "inception") == []


def test_published_statistics_stand_in_for_the_reference_of_fid(tmp_path):
    statistics = {"path": "cifar10.npz", "name": "cifar10-train"}
    given = scored(tmp_path, fid_statistics=statistics, fid_backend="pytorch-fid")
    assert jobs.fid_reference_files(given, "digits", "inception") == ["cifar10.npz"]
    stage = json.loads(stages.score_stage(given, "digits", "dpm20", "inception"))
    assert stage["fid_statistics"] == "cifar10-train"


def test_distances_to_training_images_lie_beside_the_scores(tmp_path):
    given = scored(tmp_path)
    names = jobs.nearest_files(given, "digits", "inception", "dpm20")
    scores = [file for file in jobs.score_files(given, "digits") if "/inception/dpm20/" in file]
    assert names == [file.removesuffix(".json") + ".nearest.npz" for file in scores]


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"weights": {"path": "none.pth"}}, "weights"),
        ({"fid_statistics": {"path": "none.npz", "name": "theirs"}}, "fid_statistics"),
    ],
)
def test_a_local_file_that_is_not_there_is_named(tmp_path, keys, named):
    with pytest.raises(UserError, match=rf"experiments\.digits\.scores\.inception\.{named}\.path"):
        local_inputs.check_local_files(scored(tmp_path, **keys))
