"""The throughput benchmark on a cluster: its cells are jobs, also of several nodes."""

import json

import pandas as pd
import pytest
from conftest import Study
from small_requests import small_requests

OWN = """\
import torch
from torch import nn


def build(samples):
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    return model, (torch.randn(samples, 8), torch.randn(samples, 8)), nn.functional.mse_loss
"""
GRID = {
    "models": {"mine": {"name": "own", "path": "mine.py"}},
    "strategies": ["single", "ddp"],
    "batch_size": [4],
    "nodes": [1, 2],
    "processes": [1, 2],
    "baselines": False,
    "repetitions": 1,
    "seconds": 0.1,
    "run": {"minutes_per_cell": 3},
}


@pytest.fixture(scope="module")
def measured(slurm, tmp_path_factory) -> Study:
    """A config with this benchmark alone, run to its end."""
    study = Study(tmp_path_factory.mktemp("benchmark") / "study", slurm)
    study.config = {"benchmark": GRID}
    (study.folder / "mine.py").write_text(OWN)
    study.options = small_requests(measure_cell={"mem_mb": 3000})
    study.run("benchmark", timeout=600)
    return study


def records(study: Study) -> dict[tuple[str, int, int], dict]:
    """What each cell left, by strategy, nodes and processes of each."""
    files = (study.folder / "results" / "benchmark" / "cells").glob("*.json")
    found = [json.loads(path.read_text()) for path in files]
    return {
        (record["cell"]["strategy"], record["cell"]["nodes"], record["cell"]["processes"]): record
        for record in found
    }


def test_cells_of_one_and_of_two_nodes_are_measured(measured):
    found = records(measured)
    assert len(found) == 8
    for (strategy, nodes, processes), record in found.items():
        world = nodes * processes
        status = "unsupported" if strategy == "single" and world > 1 else "ok"
        assert record["status"] == status, record["reason"]
        if status == "ok":
            assert len(record["measurement"]["parameter_bytes"]) == world
            assert (record["measurement"]["sent_bytes_per_step"] > 0) == (world > 1)


def test_each_cell_is_a_job_and_says_which(measured):
    jobs = {record["environment"]["slurm_job"] for record in records(measured).values()}
    assert len(jobs) == 8
    assert jobs == {str(number) for number in measured.jobs("measure_cell")}


def test_the_table_has_a_row_for_each_and_status_counts_them(measured):
    table = pd.read_csv(measured.folder / "results" / "benchmark" / "throughput.csv")
    assert len(table) == 8
    state = json.loads(
        measured.program("status.py", "--json", "--configfile", str(measured.config_file)).stdout
    )
    assert state["benchmark"]["statuses"] == {"ok": 5, "unsupported": 3}
    assert state["benchmark"]["failures"] == []
