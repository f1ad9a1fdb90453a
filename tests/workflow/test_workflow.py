"""The workflow as users run it, by real Snakemake."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import Study
from PIL import Image
from places import REPOSITORY

REPORT = REPOSITORY / "workflow" / "scripts" / "commands" / "report.py"


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Study:
    """The demo with a quarter of its steps, two of its sets and half of their images, run to its
    end."""
    study = Study(tmp_path_factory.mktemp("demo"))
    study.config = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    demo = study.config["experiments"]["digits"]
    demo["samples"] = {name: demo["samples"][name] | {"images": 256} for name in ("dpm20", "ddim5")}
    train = demo["train"]
    how = {**train["run"], "steps_per_job": 150, "cpus": 1}
    train.update(steps=300, checkpoint_every=150, run=how)
    study.run()
    return study


def test_the_demo_learns_digits(demo):
    """FID falls by a third."""
    report = demo.folder / "results/digits/report"
    scores = pd.read_csv(report / "evaluation_results.csv")
    compared = pd.read_csv(report / "sampler_comparison.csv").set_index("samples")
    assert (compared["seconds_per_image"] > 0).all()
    assert compared["network_evaluations"].to_dict() == {"ddim5": 5, "dpm20": 20}
    scores = scores[scores["samples"] == "dpm20"]
    assert scores["training_step"].tolist() == [150, 300]
    assert scores["fid"].iloc[1] < scores["fid"].iloc[0] * 2 / 3
    assert (scores["classifier_accuracy"] >= 0.97).all()
    assert (scores["feature_space"] == "classifier").all()


def test_the_demo_draws_every_figure_that_is_promised(demo):
    for figure in (
        "FID_vs_TrainingSteps.png", "IS_vs_TrainingSteps.png", "KID_vs_TrainingSteps.png",
        "PrecisionRecall_vs_TrainingSteps.png", "samples_over_training.dpm20.png", "loss.png",
        "DensityCoverage_vs_TrainingSteps.png", "Memorising_vs_TrainingSteps.png", "schedule.png",
        "samples_over_training.dpm20.gif", "denoising.dpm20.gif",
        "closest_pairs.classifier.dpm20.png", "Quality_vs_SecondsPerImage.png",
    ):  # fmt: skip
        size = (demo.folder / "results/digits/report" / figure).stat().st_size
        assert size > 10_000, figure


def test_the_losses_of_the_demo_fall(demo):
    jobs = sorted((demo.folder / "results/digits/training").glob("validation-*.csv"))
    validation = pd.concat(map(pd.read_csv, jobs), ignore_index=True)
    assert validation["step"].tolist() == [150, 300]
    for split in ("eval_loss", "train_loss"):
        assert validation[split].iloc[-1] < 0.9 * validation[split].iloc[0]


def test_the_demo_is_run_once_and_reported_once(demo):
    assert "Nothing to be done" in demo.run()

    report = [sys.executable, str(REPORT)]
    subprocess.run([*report, "--configfile", "config.yaml"], cwd=demo.folder, check=True)
    page = (demo.folder / "results" / "report.html").read_text()
    for shown in ("FID_vs_TrainingSteps.png", "evaluation_results.csv", "preview.png", "grid.png"):
        assert shown in page
    assert "denoising.dpm20.gif" in page and "image/gif" not in page  # which it would not show
    made = (demo.folder / "results" / "report.html").stat().st_mtime_ns
    subprocess.run([*report, "--configfile", "config.yaml"], cwd=demo.folder, check=True)
    assert (demo.folder / "results" / "report.html").stat().st_mtime_ns == made


def test_a_killed_training_goes_on_from_its_last_state_and_ends_with_the_same_weights(
    study, tmp_path
):
    study.experiment["train"].update(steps=200, checkpoint_every=100)
    study.experiment["train"]["run"] = {"cpus": 1, "save_seconds": 0.2}
    undisturbed = study.copied(tmp_path / "undisturbed")
    undisturbed.run("trained")

    workflow = subprocess.Popen(
        study.command("trained"),
        cwd=study.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    owner = study.results / "training" / "owner.json"
    before = owner.read_text()
    deadline = time.monotonic() + 120
    while owner.read_text() == before or saved_step(study) < 50:
        assert workflow.poll() is None, workflow.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(json.loads(owner.read_text())["process"], signal.SIGKILL)
    workflow.communicate(timeout=60)
    assert workflow.returncode != 0
    saved = saved_step(study)
    assert 50 <= saved < 200

    study.run("trained")
    assert study.executed_steps()[-1] == (saved, 200)
    for step in (100, 200):
        name = f"checkpoints/step-{step:08}.safetensors"
        assert (study.results / name).read_bytes() == (undisturbed.results / name).read_bytes()
    metrics = [(run.results / "metrics.csv").read_bytes() for run in (study, undisturbed)]
    assert metrics[0] == metrics[1]


def saved_step(study: Study) -> int:
    """The last state of the newest training of a study; 0 when there is none."""
    states = (study.results / "training").glob("*/state/step-*")
    return max((int(path.name.removeprefix("step-")) for path in states), default=0)


def test_a_set_cut_into_one_two_and_four_jobs_is_byte_identical(study):
    study.experiment["samples"]["dpm4"]["checkpoints"] = "latest"
    whole = drawn(study)
    assert len(whole[0]) == 1
    for per_job, files in ((16, 2), (8, 4)):
        for path in study.results.rglob("images-*.npy"):
            path.unlink()
        study.experiment["samples"]["dpm4"]["run"] = {"images_per_job": per_job, "cpus": 2}
        study.run("sampled")
        names, images = drawn(study)
        assert len(names) == files
        assert (images == whole[1]).all()


def drawn(study: Study) -> tuple[list[str], np.ndarray]:
    """Names and images, uint8 [N, H, W, C], of the set of the last checkpoint."""
    paths = sorted((study.results / "samples" / "dpm4" / "step-00000040").glob("images-*.npy"))
    return [path.name for path in paths], np.concatenate([np.load(path) for path in paths])


def test_a_wrong_config_is_refused_at_once_with_every_problem_and_no_traceback(study):
    study.experiment["train"]["lerning_rate"] = 1
    study.experiment["dataset"] = "digts"
    printed = study.run(succeeds=False)
    assert "experiments.small.train.lerning_rate: unknown key" in printed
    assert "no such dataset; did you mean 'digits'?" in printed
    assert "Traceback" not in printed
    assert "localrule" not in printed


def test_torch_is_not_imported_to_plan_a_run(study, monkeypatch):
    blocker = study.folder / "blocked"
    blocker.mkdir()
    (blocker / "torch.py").write_text("raise ImportError('torch must not be imported here')")
    monkeypatch.setenv("PYTHONPATH", str(blocker))
    study.experiment["train"]["learning_rate"] = 5e-3
    assert study.would_run()["train"] == 2


def test_ten_experiments_of_75_checkpoints_can_be_planned(study):
    study.experiment["train"].update(steps=75_000, checkpoint_every=1000)
    study.experiment["train"]["run"] = {"steps_per_job": 25_000}
    study.config["experiments"] = {f"e{index}": study.experiment for index in range(10)}
    jobs = study.would_run()
    assert (jobs["train"], jobs["sample"], jobs["score"]) == (30, 750, 750)


def test_a_path_full_of_shell_signs_is_only_a_path(study, tmp_path):
    folder = tmp_path / "a b;touch pwned $(touch pwned) 'x' \"y\""
    folder.mkdir()
    for index, name in itertools.product(range(3), "ab"):
        (folder / name).mkdir(exist_ok=True)
        Image.new("L", (9, 9), index * 40 + 20).save(folder / name / f"{index}.png")
    study.config["datasets"] = {
        "odd": {"source": {"kind": "folder", "path": str(folder)}, "image_size": 8}
    }
    study.experiment.update(dataset="odd", samples={}, scores={})
    study.run("prepared")
    assert np.load(study.folder / "results/datasets/odd/train.npy").shape == (6, 8, 8, 3)
    assert list(tmp_path.rglob("pwned")) == []


@pytest.mark.parametrize("target", ["prepared", "trained", "sampled", "scored"])
def test_each_stage_is_a_target(finished, target):
    assert finished.would_run(target) == {}
