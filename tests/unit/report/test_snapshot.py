import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_results import (
    score,
    write_losses,
    write_nearest,
    write_samples,
    write_score,
    write_scores,
    write_timing,
    write_validation,
)
from places import SCRIPTS

from ddpm_bench.config.loading import read_config
from ddpm_bench.records.layout import SCORE_FIGURES
from ddpm_bench.report.snapshot import snapshot
from ddpm_bench.report.tables import score_tables

CONFIG = """
results_dir: RESULTS
datasets:
  digits-16:
    {source: {kind: sklearn-digits}, image_size: 16, channels: 1, eval_fraction: 0.2}
defaults:
  dataset: digits-16
  model: {name: unet, dim: 16, dim_mults: [1, 2, 4]}
  train: {steps: 1200, batch_size: 64, checkpoint_every: 300}
  samples:
    dpm20: {images: 16}
    ddim50: {images: 16, scheduler: ddim, checkpoints: latest}
  scores:
    classifier: {features: classifier}
experiments:
  digits: {}
  wide: {}
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with a config of two experiments and 5 scores each, none of them made."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(
        CONFIG.replace("RESULTS", str(tmp_path / "results"))
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, SCRIPTS / "commands" / f"{name}.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def take_snapshot(folder: str | None = None) -> str:
    """Take a snapshot of the project; returns its output."""
    config = read_config(Path("config", "config.yaml"))
    target = Path(folder or f"{config.results_dir}/snapshot")
    return "\n".join(snapshot(config, target, "snakemake"))


def half_finished(project: Path) -> None:
    """Two of four checkpoints of digits are scored, wide is still training."""
    results = project / "results"
    for step in (300, 600):
        write_score(results, "digits", "dpm20", "classifier", step, score(step / 1200))
        write_samples(results, "digits", step)
    write_losses(results / "wide" / "metrics.csv", rows=30)


def test_without_scores_the_command_to_run_is_printed(project):
    done = run("snapshot", "--configfile", "config/config.yaml")
    assert done.returncode == 0, done.stderr
    assert "digits: none of 5 scores yet" in done.stdout
    assert "snakemake --cores all --configfile config/config.yaml" in done.stdout
    assert not (project / "results").exists()


def test_a_half_finished_tree_gives_its_tables_and_figures(project):
    half_finished(project)
    output = take_snapshot()
    folder = project / "results" / "snapshot"
    names = {path.name for path in (folder / "digits").glob("[!.]*")}
    assert names == {
        "evaluation_results.csv",
        "best_scores.csv",
        *SCORE_FIGURES,
        "samples_over_training.dpm20.png",
        "samples_over_training.dpm20.gif",
    }
    rows = score_tables.read_table(
        folder / "digits" / "evaluation_results.csv", score_tables.EVALUATION_COLUMNS
    )
    assert list(rows["training_step"]) == [300, 600]
    assert [path.name for path in (folder / "wide").iterdir()] == ["loss.png"]
    assert "digits: 2 of 5 scores" in output
    assert "missing: samples dpm20, score classifier: steps 900, 1,200" in output
    assert "missing: samples ddim50, score classifier: step 1,200" in output
    assert "wide: none of 5 scores yet" in output


def test_a_snapshot_draws_the_validation_losses_that_are_there(project):
    training = project / "results" / "wide" / "training"
    training.mkdir(parents=True)
    (training / "job-00000000-00000600.json").touch()  # the second job is still going on
    write_losses(project / "results" / "wide" / "metrics.csv", rows=60)
    take_snapshot()
    picture = project / "results" / "snapshot" / "wide" / "loss.png"
    before = picture.read_bytes()
    losses = {300: (0.1, 0.1), 600: (0.08, 0.07)}
    write_validation(training / "validation-00000000-00000600.csv", losses)
    take_snapshot()
    assert picture.read_bytes() != before


def test_a_snapshot_compares_the_samplers_that_are_scored_and_shows_the_closest_pairs(project):
    results = project / "results"
    for samples in ("dpm20", "ddim50"):
        write_score(results, "digits", samples, "classifier", 1200, score(1.0))
        write_samples(results, "digits", 1200, samples=samples)
        write_timing(results, samples, 1200, 0.1)
    write_nearest(results, "classifier", 1200)
    train = np.zeros((20, 16, 16, 1), np.uint8)
    (results / "datasets" / "digits-16").mkdir(parents=True)
    np.save(results / "datasets" / "digits-16" / "train.npy", train)
    take_snapshot()
    folder = results / "snapshot" / "digits"
    compared = pd.read_csv(folder / "sampler_comparison.csv")
    assert list(compared["samples"]) == ["ddim50", "dpm20"]
    assert (folder / "Quality_vs_SecondsPerImage.png").exists()
    assert (folder / "closest_pairs.classifier.dpm20.png").exists()
    assert not (folder / "closest_pairs.classifier.ddim50.png").exists()


def test_a_snapshot_leaves_everything_else_as_it_is(project):
    half_finished(project)
    before = {path: path.stat().st_mtime_ns for path in (project / "results").rglob("*.*")}
    take_snapshot("elsewhere")
    after = {path: path.stat().st_mtime_ns for path in (project / "results").rglob("*.*")}
    assert before == after
    assert (project / "elsewhere" / "digits" / "best_scores.csv").exists()


def test_a_snapshot_reads_finished_scores_that_the_config_asks_for_and_no_other(project):
    results = project / "results"
    write_score(results, "digits", "dpm20", "classifier", 300, score(0.2))
    write_score(results, "digits", "dpm20", "classifier", 450, score(0.3))  # no such checkpoint
    write_score(results, "digits", "removed", "classifier", 300, score(0.4))
    folder = results / "digits" / "scores" / "classifier" / "dpm20"
    (folder / ".step-00000600.123.partial.json").write_text("{")
    output = take_snapshot()
    assert "digits: 1 of 5 scores" in output
    assert "left out: 2 on disk that this config does not ask for" in output


def test_a_broken_score_is_named_and_the_rest_drawn(project):
    half_finished(project)
    (path,) = write_scores(project / "results", checkpoints=1, every=900)
    path.write_text('{"fid": 3.0}')
    output = take_snapshot()
    assert f"left out: {path}: is not a score of this version" in output
    assert "digits: 2 of 5 scores" in output
    assert (project / "results" / "snapshot" / "digits" / "FID_vs_TrainingSteps.png").exists()


def test_experiments_that_are_both_scored_are_compared(project):
    write_scores(project / "results", "digits", checkpoints=1)
    write_scores(project / "results", "wide", checkpoints=2)
    take_snapshot()
    report = project / "results" / "snapshot" / "report"
    rows = score_tables.read_table(report / "all_scores.csv", score_tables.EVALUATION_COLUMNS)
    assert list(rows["experiment"]) == ["digits", "wide", "wide"]
    assert (report / "FID_comparison.png").exists()


def test_a_snapshot_compares_hours_losses_and_published_scores(project):
    results, path = project / "results", Path("config", "config.yaml")
    raw = yaml.safe_load(path.read_text())
    raw["defaults"]["published"] = [
        {"metric": "fid", "value": 3.17, "source": "Ho", "feature_space": "classifier"}
    ]
    path.write_text(yaml.safe_dump(raw))
    events = [
        {"time": f"2026-01-01T0{hour}:00:00", "event": event, "step": step}
        for hour, event, step in ((0, "started", 0), (4, "job ended", 1200))
    ]
    for name in ("digits", "wide"):
        write_scores(results, name, checkpoints=2)
        write_losses(results / name / "metrics.csv", rows=30)
        (results / name / "progress.jsonl").write_text("\n".join(map(json.dumps, events)))
    take_snapshot()
    report = results / "snapshot" / "report"
    hours = pd.read_csv(report / "training_hours.csv")
    assert list(hours["process_hours"]) == [1.0, 2.0] * 2
    best = pd.read_csv(report / "best_scores.csv").set_index(["experiment", "metric"])
    assert best.loc[("wide", "fid"), "published"] == 3.17
    for name in ("FID_vs_GPUHours", "Loss_comparison", "best_scores"):
        assert (report / f"{name}.png").exists()


def test_a_snapshot_runs_as_a_program(project):
    half_finished(project)
    done = run("snapshot", "--output-dir", "elsewhere")
    assert done.returncode == 0, done.stderr
    assert "digits: 2 of 5 scores" in done.stdout
    assert (project / "elsewhere" / "digits" / "FID_vs_TrainingSteps.png").exists()


def test_a_second_snapshot_is_the_same_bytes(project):
    half_finished(project)
    take_snapshot()
    folder = project / "results" / "snapshot"
    first = {path: path.read_bytes() for path in folder.rglob("*.*")}
    take_snapshot()
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == first


def test_a_wrong_config_ends_a_snapshot_with_one_error_and_no_traceback(project):
    (project / "config" / "config.yaml").write_text("datasets: {}\n")
    done = run("snapshot")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_a_summary_prints_scores_best_checkpoint_and_places(project):
    results = project / "results"
    rows = score_tables.evaluation_table(
        write_scores(results), experiment="digits", dataset="digits-16"
    )
    report = results / "digits" / "report"
    score_tables.write_table(report / "evaluation_results.csv", rows)
    score_tables.write_table(report / "best_scores.csv", score_tables.best_scores(rows))
    (results / "report.html").write_text("<html>")
    done = run("summary")
    assert done.returncode == 0, done.stderr
    assert "8.16 ± 0.44*" in done.stdout
    assert "step 1,200, FID 8.16 ± 0.44" in done.stdout
    assert "results/digits/checkpoints/step-00001200.safetensors" in done.stdout
    assert f"figures: {report}" in done.stdout
    assert "results/report.html" in done.stdout
    assert "wide: dataset digits-16" in done.stdout and "not collected yet" in done.stdout


def test_a_snapshot_leaves_out_what_could_not_be_drawn(project):
    results = project / "results"
    why = {"status": "out of memory", "reason": "x", "step": 1200, "how": {}}
    for samples in ("dpm20", "ddim50"):
        record = score(1.0, images_generated=0 if samples == "dpm20" else 16)
        write_score(results, "digits", samples, "classifier", 1200, record)
        path = write_samples(results, "digits", 1200, samples=samples)
        write_timing(results, samples, 1200, 0.1)
        if samples == "dpm20":
            np.save(path, np.load(path)[:0])
            path.with_suffix(".json").write_text(json.dumps({"images": 0, "failed": why}))
    write_nearest(results, "classifier", 1200, images=0)
    (results / "datasets" / "digits-16").mkdir(parents=True)
    np.save(results / "datasets" / "digits-16" / "train.npy", np.zeros((20, 16, 16, 1), np.uint8))
    take_snapshot()
    folder = results / "snapshot" / "digits"
    assert not list(folder.glob("*dpm20*"))
    assert (folder / "samples_over_training.ddim50.png").exists()
    assert list(pd.read_csv(folder / "sampler_comparison.csv")["samples"]) == ["ddim50"]
