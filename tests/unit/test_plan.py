"""Jobs are cut by what lies on disk: what is done stands, only the rest is cut."""

import copy
from pathlib import Path

import pytest
import yaml

from ddpm_bench import plan
from ddpm_bench.config.loading import check_config
from ddpm_bench.program import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
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
    assert plan.cut(end, per_job, done) == expected


def test_only_names_that_match_wholly_count_as_finished(tmp_path):
    folder = tmp_path / "digits" / "training"
    folder.mkdir(parents=True)
    (folder / "job-00000000-00000300.json").touch()
    for name in ("job-00000300-00000600.json.partial", ".job-00000300-00000600.1.partial.json"):
        (folder / name).touch()
    jobs = plan.training_jobs(config(tmp_path, run={"steps_per_job": 900}), "digits")
    assert jobs == [(0, 300), (300, 1200)]


def test_every_checkpoint_is_made_by_one_job(tmp_path):
    checked = config(tmp_path, run={"steps_per_job": 600})
    made_by = [
        plan.manifest_of_checkpoint(checked, "digits", step) for step in (300, 600, 900, 1200)
    ]
    assert [Path(path).name for path in made_by] == [
        "job-00000000-00000600.json", "job-00000000-00000600.json",
        "job-00000600-00001200.json", "job-00000600-00001200.json",
    ]  # fmt: skip


def test_every_job_has_validation_losses_unless_nothing_is_held_out(tmp_path):
    run = {"steps_per_job": 600}
    files = plan.validations(config(tmp_path, run=run), "digits")
    assert [Path(path).name for path in files] == [
        "validation-00000000-00000600.csv", "validation-00000600-00001200.csv",
    ]  # fmt: skip
    raw = copy.deepcopy(DEMO)
    raw["experiments"]["digits"]["validation"] = {"images": 0}
    assert plan.validations(check_config(raw), "digits") == []
    raw = copy.deepcopy(DEMO)
    raw["datasets"]["digits"]["eval_fraction"] = 0
    assert plan.validations(check_config(raw), "digits") == []


@pytest.mark.parametrize(
    ("chosen", "steps"),
    [("all", [300, 600, 900, 1200]), ("latest", [1200]), ([900, 300], [300, 900])],
)
def test_checkpoints_of_a_set(tmp_path, chosen, steps):
    raw = copy.deepcopy(DEMO)
    raw["experiments"]["digits"]["samples"]["dpm20"]["checkpoints"] = chosen
    assert plan.checkpoint_steps(check_config(raw), "digits", "dpm20") == steps


def test_a_set_is_cut_into_files_that_cover_it(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["results_dir"] = str(tmp_path)
    raw["experiments"]["digits"]["samples"]["dpm20"]["run"] = {"images_per_job": 256}
    files = plan.sample_files(check_config(raw), "digits", "dpm20", 300)
    assert [Path(file).name for file in files] == [
        "images-000000-000255.npy", "images-000256-000511.npy",
    ]  # fmt: skip
    assert Path(files[0]).parent == tmp_path / "digits/samples/dpm20/step-00000300"


def test_a_local_weights_file_that_is_not_there_is_named(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["experiments"]["digits"]["scores"] = {
        "inception": {"features": "inception", "weights": {"path": str(tmp_path / "none.pth")}}
    }
    with pytest.raises(UserError, match=r"experiments\.digits\.scores\.inception\.weights\.path"):
        plan.check_local_files(check_config(raw))
