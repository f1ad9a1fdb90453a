"""A sweep by real Snakemake: one member cannot fit, and the others do not mind."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import Study

TOO_LARGE = 2**16  # images in one batch, which a process of 1,100 MB cannot hold


@pytest.fixture(scope="module")
def swept(finished, tmp_path_factory) -> Study:
    """The small study as a sweep over the batch size, run to its end."""
    study = finished.copied(tmp_path_factory.mktemp("swept") / "study")
    train = study.experiment["train"]
    train.update(steps=20, run={"cpus": 1, "memory_mb_per_process": 1100})
    study.experiment["samples"]["dpm4"].update(images=8)
    study.experiment["sweep"] = {"keys": {"train.batch_size": [16, TOO_LARGE]}}
    study.run()
    return study


def member(study: Study, size: int):
    return study.folder / "results" / f"small.batch_size-{size}"


def test_a_member_that_cannot_fit_is_a_row_with_its_reason_and_others_have_scores(swept):
    folder = swept.folder / "results/report/sweeps/small"
    table = pd.read_csv(folder / "sweep.csv").set_index(["member", "metric"])
    good = table.loc[("small.batch_size-16", "fid")]
    bad = table.loc[(f"small.batch_size-{TOO_LARGE}", "fid")]
    assert good["status"] == "ok" and np.isfinite(good["best_value"])
    assert bad["status"] == "out of memory" and np.isnan(bad["best_value"])
    assert "more could not be had; a process may take 1,100 MB" in bad["reason"]
    for name in ("Ranking", "MainEffects", "ParallelCoordinates", "ScoreCurves", "LossCurves"):
        assert (folder / f"{name}.png").stat().st_size > 10_000, name
    assert (member(swept, 16) / "checkpoints" / "step-00000020.safetensors").exists()
    assert not list(swept.folder.glob("results/small.*/report/*.gif"))
    assert swept.would_run() == {}


def test_a_further_value_runs_its_own_member_alone(swept, tmp_path):
    study = swept.copied(tmp_path / "study")
    study.experiment["sweep"]["keys"]["train.batch_size"] = [8, 16, TOO_LARGE]
    assert study.would_run() == {
        "train": 1, "validate": 1, "plot_loss": 1, "sample": 1, "sample_grid": 1, "score": 1,
        "collect": 1, "sweep": 1, "compare": 1, "costs": 1,
    }  # fmt: skip
    study.experiment["sweep"]["keys"] = {"train.batch_size": [16]}
    assert study.would_run() == {"sweep": 1, "compare": 1, "costs": 1}


@pytest.mark.long  # test_recorded_failures.py has it without Snakemake
def test_another_run_key_tries_what_has_failed_again_and_nothing_else(swept, tmp_path):
    study = swept.copied(tmp_path / "study")
    study.experiment["train"]["run"]["micro_batch_size"] = 16
    printed = study.run("--dry-run")
    assert f"small.batch_size-{TOO_LARGE} failed with other run keys: a run would try it" in printed
    (manifest,) = (member(study, TOO_LARGE) / "training").glob("job-*.json")
    assert "failed" in json.loads(manifest.read_text()), "a dry run changes nothing"
    before = (member(study, 16) / "training" / manifest.name).stat().st_mtime_ns

    study.experiment["train"]["run"] = {"cpus": 1, "memory_mb_per_process": 1000}
    printed = study.run("trained")
    assert f"small.batch_size-{TOO_LARGE} failed with other run keys: it is tried again" in printed
    assert "may take 1,000 MB" in json.loads(manifest.read_text())["failed"]["reason"]
    assert (member(study, 16) / "training" / manifest.name).stat().st_mtime_ns == before
