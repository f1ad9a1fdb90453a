"""The throughput benchmark from a config to its report, with models of a user's own."""

import subprocess
import sys

import pandas as pd
import pytest
from conftest import Study
from places import COMMANDS

WORKS = """\
import torch
from torch import nn


def build(samples):
    batch = torch.randn(samples, 8), torch.randn(samples, 8)
    return nn.Linear(8, 8), batch, nn.functional.mse_loss
"""
GREEDY = """\
import torch


def build(samples):
    return torch.nn.Linear(1, 1), torch.ones(750_000_000), None  # 3 GB
"""
BREAKS = "def build(samples):\n    raise ValueError('no such layer')\n"


@pytest.fixture
def benchmark(tmp_path) -> Study:
    """A config with a benchmark alone: a model that works, and two that do not."""
    study = Study(tmp_path / "study")
    study.folder.mkdir()
    texts = {"breaks": BREAKS, "greedy": GREEDY, "works": WORKS}
    for name, text in texts.items():
        (study.folder / f"{name}.py").write_text(text)
    models = {name: {"name": "own", "path": f"{name}.py"} for name in texts}
    study.config = {
        "benchmark": {
            "models": models, "strategies": ["single"], "batch_size": [4], "processes": [1, 2],
            "steps": 3, "seconds": 0, "repetitions": 2, "memory_mb_per_process": 2000,
        }
    }  # fmt: skip
    return study


def program(study: Study, name: str) -> str:
    done = subprocess.run(
        [sys.executable, str(COMMANDS / name), "--configfile", "config.yaml"],
        cwd=study.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_that_breaks_is_a_row_and_the_rest_is_measured_and_reported(benchmark):
    benchmark.run()  # without experiments, what there is to do is the benchmark
    folder = benchmark.folder / "results" / "benchmark"
    whole = pd.read_csv(folder / "throughput.csv")
    assert set(whole[whole["processes"] == 2]["status"]) == {"unsupported"}
    table = whole[whole["processes"] == 1].set_index("model")
    assert table.loc["works", "status"].tolist() == ["ok", "ok"]  # a row for each repetition
    assert (table.loc["works", "samples_per_second"] > 0).all()
    assert table.loc["breaks", "status"] == "crashed"
    assert "no such layer" in table.loc["breaks", "reason"]
    assert table.loc["greedy", "status"] == "out of memory"
    assert "memory_mb_per_process" in table.loc["greedy", "reason"]
    said = "6 of 6 cells: 1 ok, 1 out of memory, 3 unsupported, 1 crashed"
    assert said in program(benchmark, "status.py")
    assert "no such layer" in program(benchmark, "throughput_summary.py")

    assert "report.html: open it" in program(benchmark, "report.py")
    page = (benchmark.folder / "results" / "report.html").read_text()
    for shown in ("throughput.csv", "throughput_vs_batch.png", "communication_share.png"):
        assert shown in page
