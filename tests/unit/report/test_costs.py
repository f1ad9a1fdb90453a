"""Costs of a study, from benchmark files in Snakemake's format."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn import texts
from places import SCRIPTS

from ddpm_bench.config.reporting import ChargedExperiment
from ddpm_bench.report.figures.cost_figure import cost_figure
from ddpm_bench.report.tables.cost_table import COLUMNS, costs_table
from ddpm_bench.report.tables.score_tables import write_table
from ddpm_bench.report.terminal.run_summary import costs as costs_line

FIELDS = [
    "s", "h:m:s", "max_rss", "max_vms", "max_uss", "max_pss", "io_in", "io_out", "mean_load",
    "cpu_time",
]  # fmt: skip
EXTENDED = [
    "jobid", "rule_name", "wildcards", "params", "threads", "cpu_usage", "resources",
    "input_size_mb",
]  # fmt: skip
EXPERIMENTS = {
    "a": ChargedExperiment(dataset="digits", samples=["dpm.20", "ddim"], scores=["classifier"]),
    "a.b": ChargedExperiment(dataset="digits", samples=["dpm.20"], scores=["classifier"]),
}


def benchmark(
    results: Path, rule: str, name: str, seconds: float, *, memory: object = 1024.0,
    cpu: object = None, threads: int = 2, gpu: int | None = 1, asked: dict | None = None,
    extended: bool = True,
) -> None:  # fmt: skip
    cpu = seconds * threads if cpu is None else cpu
    values = [seconds, "0:00:10", memory, 4000.0, 400.0, 500.0, 0.1, 0.1, 90.0, cpu]
    resources = {"tmpdir": "/tmp", "how": '{"cpus":1}', **(asked or {})}
    if gpu is not None:
        resources["gpu"] = gpu
    names = FIELDS + (EXTENDED if extended else [])
    values += [1, rule, {}, {}, threads, 1.0, resources, {}] if extended else []
    path = results / "logs" / rule / f"{name}.benchmark.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\t".join(names) + "\n" + "\t".join(map(str, values)) + "\n")


def attempts(results: Path, experiment: str, *events: tuple[int, str, int]) -> None:
    """Lines of progress.jsonl: (second of the day, event, step)."""
    path = results / experiment / "progress.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {"time": f"2026-01-01T00:{second // 60:02}:{second % 60:02}+00:00", "event": event,
         "step": step}
        for second, event, step in events
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")


SLURM = {"mem_mb": 8192, "runtime": 60, "slurm_partition": "gpu"}


def rows(table: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    return {(row["stage"], row["experiment"]): row for _, row in table.iterrows()}


def test_jobs_are_summed_by_stage_and_experiment(tmp_path):
    for step in (20, 40):
        benchmark(tmp_path, "sample", f"a.dpm.20.{step:08}.000000-000031", 1800, asked=SLURM)
        benchmark(tmp_path, "sample", f"a.b.dpm.20.{step:08}.000000-000031", 900, asked=SLURM)
    benchmark(tmp_path, "sample", "a.gone.00000020.000000-000031", 999)  # no set of the config
    benchmark(tmp_path, "prepare", "digits", 360, gpu=None, memory=512.0)
    benchmark(tmp_path, "prepare", "another", 999, gpu=None)
    table = costs_table(tmp_path, EXPERIMENTS, has_gpus=False)
    assert list(table.columns) == COLUMNS
    found = rows(table)
    assert set(found) == {("prepare", ""), ("sample", "a"), ("sample", "a.b")}
    assert found["sample", "a"]["jobs"] == 2
    assert found["sample", "a"]["wall_hours"] == pytest.approx(1.0)
    assert found["sample", "a"]["gpu_hours"] == pytest.approx(1.0)
    assert found["sample", "a"]["cpu_hours"] == pytest.approx(2.0)
    assert found["sample", "a"]["cpu_used_share"] == pytest.approx(1.0)
    assert found["sample", "a"]["longest_job_minutes"] == pytest.approx(30)
    assert found["sample", "a"]["runtime_used_share"] == pytest.approx(0.5)
    assert found["sample", "a"]["peak_memory_gib"] == pytest.approx(1.0)  # RSS, not PSS
    assert found["sample", "a"]["memory_used_share"] == pytest.approx(1 / 8)
    assert found["sample", "a.b"]["wall_hours"] == pytest.approx(0.5)
    assert found["prepare", ""]["gpu_hours"] == 0
    assert np.isnan(found["prepare", ""]["requested_memory_gib"])


def test_a_training_counts_with_its_earlier_attempts(tmp_path):
    attempts(
        tmp_path, "a",
        (0, "started", 0), (600, "state saved", 15),  # killed
        (1200, "resumed", 15), (1500, "stopped by a signal", 18),
        (1800, "resumed", 18), (2100, "job ended", 20),
        (2200, "resumed", 20), (2300, "job ended", 40),
    )  # fmt: skip
    benchmark(tmp_path, "train", "a.00000000-00000020", 310, gpu=4, asked=SLURM)
    benchmark(tmp_path, "train", "a.00000020-00000040", 110, gpu=4, asked=SLURM)
    row = rows(costs_table(tmp_path, EXPERIMENTS, has_gpus=False))["train", "a"]
    assert row["wall_hours"] * 3600 == pytest.approx(600 + 300 + 310 + 110)
    assert row["gpu_hours"] == pytest.approx(4 * row["wall_hours"])
    assert row["longest_job_minutes"] * 60 == pytest.approx(310)


def test_a_training_job_that_found_everything_trained_keeps_its_time(tmp_path):
    attempts(tmp_path, "a", (0, "started", 0), (600, "job ended", 20))
    benchmark(tmp_path, "train", "a.00000000-00000020", 10)
    row = rows(costs_table(tmp_path, EXPERIMENTS, has_gpus=False))["train", "a"]
    assert row["wall_hours"] * 3600 == pytest.approx(600)


def test_gpus_count_where_there_are_some(tmp_path):
    benchmark(tmp_path, "score", "a.classifier.ddim.00000020", 3600)
    assert costs_table(tmp_path, EXPERIMENTS, has_gpus=False)["gpu_hours"].sum() == 0
    assert costs_table(tmp_path, EXPERIMENTS, has_gpus=True)["gpu_hours"].sum() == 1


def test_files_of_before_and_of_very_short_jobs_are_read(tmp_path):
    benchmark(tmp_path, "sample", "a.ddim.00000020.000000-000031", 60, extended=False)
    benchmark(tmp_path, "validate", "a.00000000-00000020", 0.2, memory="-", cpu="NA")
    found = rows(costs_table(tmp_path, EXPERIMENTS, has_gpus=True))
    assert found["sample", "a"]["peak_memory_gib"] == pytest.approx(1.0)
    assert np.isnan(found["sample", "a"]["cpu_used_share"])
    assert np.isnan(found["validate", "a"]["peak_memory_gib"])
    assert np.isnan(found["validate", "a"]["cpu_hours"])


def advice_on(tmp_path, *, memory: float, seconds: float = 2400, cpu: float | None = None) -> str:
    for experiment, held in (("a", memory), ("a.b", 100.0)):
        benchmark(
            tmp_path, "score", f"{experiment}.classifier.dpm.20.00000020", seconds, memory=held,
            cpu=cpu, threads=8, asked=SLURM,
        )  # fmt: skip
    (advice,) = costs_table(tmp_path, EXPERIMENTS, has_gpus=False)["advice"].unique()
    return advice


def test_advice_follows_the_largest_job_of_a_rule(tmp_path):
    # 1.3 times 1434 and 250 MiB of Snakemake's, in steps of 500.
    advice = advice_on(tmp_path, memory=1434.0)
    assert "asked for 8.0 GiB and used 1.4 at most; set-resources: score: mem_mb: 2500" in advice


def test_what_fits_needs_no_advice(tmp_path):
    assert advice_on(tmp_path, memory=5000.0) == ""


def test_idle_cores_of_a_moment_are_no_matter(tmp_path):
    benchmark(tmp_path, "prepare", "digits", 8, gpu=None, cpu=1.0, threads=2)
    assert costs_table(tmp_path, EXPERIMENTS, has_gpus=False)["advice"].unique() == [""]


def test_too_little_memory_too_long_a_time_and_idle_cores_have_advice(tmp_path):
    advice = advice_on(tmp_path, memory=7900.0, seconds=240, cpu=240.0)
    assert "used 7.7 of 8.0 GiB; set-resources: score: mem_mb: 11000 is safer" in advice
    assert "asked for 60 minutes and took 4 minutes at most; runtime: 10 would do" in advice
    assert "kept 1.0 of 8 CPU cores busy at most" in advice


def test_the_figure_has_a_row_for_each_experiment_and_each_dataset(tmp_path):
    benchmark(tmp_path, "prepare", "digits", 36, gpu=None)
    benchmark(tmp_path, "train", "a.00000000-00000020", 7200, asked=SLURM)
    benchmark(tmp_path, "train", "a.b.00000000-00000020", 14400, asked=SLURM)
    figure = cost_figure(costs_table(tmp_path, EXPERIMENTS, has_gpus=False))
    wall, gpu, memory = figure.axes
    names = [label.get_text() for label in wall.get_yticklabels()]
    assert names == ["dataset digits", "a", "a.b"]
    assert "6.01 hours in total" in texts(wall) and "6 GPU-hours in total" in texts(gpu)
    widths = {round(bar.get_width(), 3) for bar in wall.patches}
    assert {0.01, 2.0, 4.0} <= widths
    assert "training" in texts(wall) and "requested" in texts(memory)


def test_short_studies_are_shown_in_seconds_and_without_gpus(tmp_path):
    benchmark(tmp_path, "train", "a.00000000-00000020", 30)
    figure = cost_figure(costs_table(tmp_path, EXPERIMENTS, has_gpus=False))
    assert len(figure.axes) == 2
    assert "30 seconds in total" in texts(figure.axes[0])
    assert "No job held a GPU" in texts(figure.axes[1])


def test_the_summary_names_what_it_took(tmp_path):
    assert list(costs_line(tmp_path)) == []
    benchmark(tmp_path, "train", "a.00000000-00000020", 5400, gpu=2, asked=SLURM)
    write_table(tmp_path / "costs.csv", costs_table(tmp_path, EXPERIMENTS, has_gpus=False))
    (line,) = costs_line(tmp_path)
    assert "1.5 hours of jobs and 3 GPU-hours" in line


def test_costs_writes_a_table_and_a_figure_even_of_nothing(tmp_path):
    what = {"version": 1, "experiments": {"a": {"dataset": "digits"}}}
    command = [sys.executable, SCRIPTS / "costs.py", "--what", json.dumps(what)]
    command += [
        "--results",
        tmp_path,
        "--table",
        tmp_path / "c.csv",
        "--figure",
        tmp_path / "c.png",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "c.csv").read_text().strip() == ",".join(COLUMNS)
    assert (tmp_path / "c.png").stat().st_size > 1000
