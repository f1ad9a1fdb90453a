"""Results that were renamed, copied or cloned are judged as in their first place."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import SCRIPTS

FOLLOW_SAMPLES = {
    "sample": 2, "sample_grid": 2, "plot_samples": 1, "plot_trajectory": 1, "score": 2,
    "collect": 1, "plot_scores": 1, "plot_samplers": 1, "plot_closest_pairs": 1, "compare": 1,
    "compare_hours": 1, "plot_best_scores": 1, "costs": 1,
}  # fmt: skip

SHOW_SAMPLES = {"sample_grid", "plot_samples", "plot_trajectory"}


@pytest.fixture
def moved(study):
    """A finished study whose files are copies with new times, under another name, and without
    Snakemake's records."""
    shutil.copytree(
        study.folder / "results", study.folder / "elsewhere", copy_function=shutil.copyfile
    )
    shutil.rmtree(study.folder / "results")
    shutil.rmtree(study.folder / "resources")
    shutil.rmtree(study.folder / ".snakemake")
    study.config["results_dir"] = "elsewhere"
    return study


def status(study) -> tuple[int, int, int]:
    """Steps, files of samples, and scores that are done."""
    command = [sys.executable, str(SCRIPTS / "commands" / "status.py")]
    command += ["--configfile", "config.yaml", "--json"]
    done = subprocess.run(command, cwd=study.folder, capture_output=True, text=True, check=True)
    (state,) = json.loads(done.stdout)["experiments"]
    return state["steps_done"], state["samples_done"], state["scores_done"]


def printed(study, name: str) -> str:
    """Return the text that a command prints about the study."""
    command = [sys.executable, str(SCRIPTS / "commands" / f"{name}.py")]
    command += ["--configfile", "config.yaml"]
    done = subprocess.run(command, cwd=study.folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_nothing_runs_again_and_a_change_runs_what_follows_from_it(moved):
    assert moved.would_run() == {}
    assert status(moved) == (40, 2, 2)

    moved.experiment["samples"]["dpm4"]["steps"] = 5
    assert moved.would_run() == FOLLOW_SAMPLES
    assert status(moved) == (40, 0, 0)
    assert "  warning: made with other settings" in printed(moved, "summary")
    assert "small: none of 2 scores yet" in printed(moved, "snapshot")
    assert "left out: 2 on disk of other settings or inputs" in printed(moved, "snapshot")
    assert "or of other settings or inputs, such as elsewhere/" in printed(moved, "report")
    moved.experiment["samples"]["dpm4"]["steps"] = 4

    moved.config["datasets"]["digits"]["image_size"] = 16
    assert {"prepare", "train", "sample", "score"} <= set(moved.would_run())
    assert status(moved) == (0, 0, 0)


def test_a_job_that_ran_again_and_its_followers_are_current(moved):
    moved.experiment["scores"]["classifier"]["seed"] = 7
    moved.run("scored")
    assert status(moved) == (40, 2, 2)
    # Distances to training images were made anew, and are the same.
    done = {"sample", "score", "plot_closest_pairs"}
    assert set(moved.would_run()) == set(FOLLOW_SAMPLES) - SHOW_SAMPLES - done


def test_the_record_goes_before_its_job_runs_again(moved):
    record = next((moved.folder / "elsewhere").rglob(".step-00000020.json.made"))
    before = json.loads(record.read_text())
    assert before["rule"] == "score"
    moved.run("--forcerun", "score", "--", "scored")
    assert json.loads(record.read_text())["made"] != before["made"]
    # Scores that are made anew, and are the same, make no table stale, wherever they lie.
    assert moved.would_run() == {}
    shutil.rmtree(moved.folder / ".snakemake")
    assert moved.would_run() == {}
    assert "made with other settings" not in printed(moved, "summary")


def test_results_of_before_the_records_get_them_from_snakemake(study):
    for record in Path(study.folder).rglob(".*.made"):
        record.unlink()
    assert study.would_run() == {}
    (study.results / "report" / "loss.png").unlink()
    study.run()
    shutil.rmtree(study.folder / ".snakemake")
    assert study.would_run() == {}
    study.experiment["samples"]["dpm4"]["steps"] = 5
    assert study.would_run() == FOLLOW_SAMPLES
