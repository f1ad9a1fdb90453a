"""GPU-hours up to each checkpoint, and the figures of scores against them."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from drawn import texts
from fake_results import write_scores

from ddpm_bench.config.reporting import TrainingPrerequisites
from ddpm_bench.records.progress_log import read_events, taken_until
from ddpm_bench.report.figures.hours_figures import hours_figures
from ddpm_bench.report.tables import score_tables
from ddpm_bench.report.tables.training_hours import COLUMNS, training_hours

HOUR = 3600.0


def progress(results: Path, training: str, *attempts: tuple[dict, list[tuple[float, int]]]) -> None:
    """progress.jsonl of attempts: how each is run, and (hours since the start, step) of events."""
    lines = []
    for run, events in attempts:
        for place, (hours, step) in enumerate(events):
            event = ("resumed" if step else "started") if place == 0 else "trained"
            time = (datetime(2026, 1, 1) + timedelta(hours=hours)).isoformat()
            about = {"run": run} if place == 0 else {}
            lines.append(json.dumps({"time": time, "event": event, "step": step, **about}))
    path = results / training / "progress.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def train_benchmark(results: Path, training: str, gpu: int, partition: str | None) -> None:
    resources = {"gpu": gpu} | ({"slurm_partition": partition} if partition else {})
    path = results / "logs" / "train" / f"{training}.00000000-00001200.benchmark.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"s\tmax_rss\tcpu_time\tthreads\tresources\n10.0\t100.0\t10.0\t2\t{resources}\n"
    )


def evaluation_of(results: Path, *experiments: str, dataset: str = "digits") -> pd.DataFrame:
    parts = []
    for experiment in experiments:
        files = sorted((results / experiment / "scores").glob("*/*/*.json"))
        parts.append(score_tables.evaluation_table(files, experiment=experiment, dataset=dataset))
    return pd.concat(parts, ignore_index=True)


def process_hours(table: pd.DataFrame, experiment: str) -> dict[int, float]:
    rows = table[table["experiment"] == experiment]
    return dict(zip(rows["training_step"], rows["process_hours"], strict=True))


def test_what_a_killed_attempt_did_in_vain_counts(tmp_path):
    # Killed at step 50 after 2 hours, resumed from 20: an hour for 20 to 60; waiting is free.
    progress(
        tmp_path, "a",
        ({}, [(0, 0), (1, 25), (2, 50)]),
        ({}, [(10, 20), (10.75, 50), (11, 60)]),
    )  # fmt: skip
    found = taken_until(read_events(tmp_path / "a" / "progress.jsonl"), [60, 25, 10])
    assert {step: taken.wall_seconds / HOUR for step, taken in found.items()} == {
        10: pytest.approx(0.4), 25: pytest.approx(1.0), 60: pytest.approx(3.0),
    }  # fmt: skip


def test_a_step_counts_when_it_was_first_reached(tmp_path):
    progress(tmp_path, "a", ({}, [(0, 0), (2, 50)]), ({}, [(10, 20), (11, 60)]))
    found = taken_until(read_events(tmp_path / "a" / "progress.jsonl"), [50])
    assert found[50].wall_seconds == pytest.approx(2 * HOUR)


def test_processes_of_each_attempt_count(tmp_path):
    progress(
        tmp_path, "a",
        ({"gpus": 2}, [(0, 0), (1, 50)]),
        ({"gpus": 4, "nodes": 2}, [(5, 50), (6, 100)]),
    )  # fmt: skip
    found = taken_until(read_events(tmp_path / "a" / "progress.jsonl"), [50, 100, 150])
    assert {step: taken.process_seconds / HOUR for step, taken in found.items()} == {
        50: pytest.approx(2.0), 100: pytest.approx(10.0),
    }  # fmt: skip


def test_a_latent_experiment_begins_after_its_autoencoder(tmp_path):
    write_scores(tmp_path, "latent", checkpoints=2, every=50)
    progress(tmp_path, "vq", ({"gpus": 2}, [(0, 0), (3, 1000)]))
    progress(tmp_path, "latent", ({}, [(0, 0), (4, 100)]))
    rows = evaluation_of(tmp_path, "latent")
    keys = {"latent": TrainingPrerequisites(autoencoder="vq")}
    table = training_hours(tmp_path, rows, keys, has_gpus=True)
    assert list(table.columns) == COLUMNS
    assert process_hours(table, "latent") == {50: pytest.approx(8.0), 100: pytest.approx(10.0)}
    figure = dict(hours_figures(rows, table))["FID_vs_GPUHours.png"]
    written = texts(figure.axes[0])
    assert "latent counts the 6 GPU-hours of its autoencoder vq first." in written
    assert figure.axes[0].get_xlabel() == "GPU-hours of training"


def test_hours_of_gpus_and_of_cpus_never_share_an_axis(tmp_path):
    for name in ("a", "a.b"):
        write_scores(tmp_path, name, checkpoints=2, every=600)
        progress(tmp_path, name, ({}, [(0, 0), (6, 1200)]))
    train_benchmark(tmp_path, "a", 1, "gpu")  # on a cluster
    train_benchmark(tmp_path, "a.b", 1, None)  # here, where there is no GPU
    rows = evaluation_of(tmp_path, "a", "a.b")
    keys = {"a": TrainingPrerequisites(), "a.b": TrainingPrerequisites()}
    table = training_hours(tmp_path, rows, keys, has_gpus=False)
    held = dict(zip(table["experiment"], table["processes_are"], strict=True))
    assert held == {"a": "GPU", "a.b": "CPU"}
    axes = dict(hours_figures(rows, table))["IS_vs_GPUHours.png"].axes
    assert [one.get_xlabel() for one in axes] == [
        "process-hours of training (CPU)", "GPU-hours of training",
    ]  # fmt: skip
    assert "a.b" in texts(axes[0]) and "a.b" not in texts(axes[1])


def test_short_trainings_are_drawn_in_minutes(tmp_path):
    write_scores(tmp_path, "a", checkpoints=2, every=600)
    progress(tmp_path, "a", ({}, [(0, 0), (0.5, 1200)]))
    rows = evaluation_of(tmp_path, "a")
    table = training_hours(tmp_path, rows, {"a": TrainingPrerequisites()}, has_gpus=False)
    (axes,) = dict(hours_figures(rows, table))["KID_vs_GPUHours.png"].axes
    assert axes.get_xlabel() == "process-minutes of training (CPU)"
    assert "at 30 process-minutes" in texts(axes)
    (curve,) = (line for line in axes.lines if line.get_marker() == "o")
    assert list(curve.get_xdata()) == pytest.approx([15.0, 30.0])


def test_an_experiment_without_known_times_is_named_and_left_out(tmp_path):
    for name in ("a", "b"):
        write_scores(tmp_path, name, checkpoints=2, every=600)
    progress(tmp_path, "a", ({}, [(0, 0), (6, 1200)]))
    rows = evaluation_of(tmp_path, "a", "b")
    table = training_hours(
        tmp_path, rows, {"a": TrainingPrerequisites(), "b": TrainingPrerequisites()}, has_gpus=True
    )
    assert set(table["experiment"]) == {"a"}
    (axes,) = dict(hours_figures(rows, table))["KID_vs_GPUHours.png"].axes
    assert "left out: b." in texts(axes)
    nothing = dict(hours_figures(evaluation_of(tmp_path, "b"), table))["KID_vs_GPUHours.png"]
    assert "The training time of none of the scored checkpoints is known" in texts(
        nothing.axes[0]
    ).replace("\n", " ")
