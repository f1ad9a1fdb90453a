"""How the throughput benchmark stands, from the files of its cells."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from ddpm_bench.config.loading import check_config
from ddpm_bench.errors import UserError
from ddpm_bench.planning import benchmark_cells, jobs, targets
from ddpm_bench.runs import slurm_queue
from ddpm_bench.runs.dashboard import dashboard
from ddpm_bench.runs.overview import overview

GRID = {"models": {"r": {"name": "resnet18"}}, "batch_size": [8, 16, 32], "processes": [1, 2]}
OK = "r.single.fp32.batch-8.processes-1.nodes-1"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A benchmark and nothing else, in a folder of its own, on a machine without SLURM."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm_queue, "has_slurm", lambda: False)
    return check_config({"benchmark": {**GRID, "baselines": False}})


def measure(config, *statuses: str) -> None:
    """The files of the first cells, as far as their statuses."""
    for path, status in zip(benchmark_cells.cell_files(config), statuses, strict=False):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps({"status": status}))


def shown(config) -> str:
    return "\n".join(dashboard(overview(config, Path("config.yaml"), Path())))


def test_cells_are_counted_by_what_became_of_them(config):
    assert "0 of 12 cells" in shown(config)
    measure(config, "crashed", "ok", "unsupported", "ok", "out of memory", "ok", "timed out")
    found = overview(config, Path("config.yaml"), Path()).benchmark
    assert list(found.statuses.items()) == [
        ("ok", 3), ("out of memory", 1), ("unsupported", 1), ("crashed", 1), ("timed out", 1),
    ]  # fmt: skip
    assert "7 of 12 cells: 3 ok, 1 out of memory, 1 unsupported, 1 crashed, 1 timed" in shown(
        config
    )
    assert json.loads(json.dumps(asdict(found)))["cells_done"] == 7


def test_a_cell_of_an_earlier_grid_does_not_count(config):
    measure(config, "ok", "ok")
    smaller = {**GRID, "batch_size": [16], "baselines": False}
    assert "0 of 4 cells" in shown(check_config({"benchmark": smaller}))


def test_a_cell_whose_program_failed_is_shown_with_its_last_words(config):
    log = Path("results/logs/measure_cell", f"{OK}.log")
    log.parent.mkdir(parents=True)
    log.write_text("error: benchmark.models.r: no such thing; give another\n")
    text = shown(config)
    assert f"failed    measure_cell {OK}" in text and "no such thing; give another" in text
    measure(config, "ok")  # it has succeeded since
    assert "failed    measure_cell" not in shown(config)


def test_jobs_of_cells_stand_under_the_benchmark(config, monkeypatch):
    values = [OK, "run-1", "gpu", "n1", "None", "0:01", "9:59"]
    job = slurm_queue.SlurmJob("7", "RUNNING", "measure_cell", *values)
    monkeypatch.setattr(slurm_queue, "queue", lambda folder, ended: [job])
    monkeypatch.setattr(slurm_queue, "with_details", lambda job: job)
    state = overview(config, Path("config.yaml"), Path())
    assert (state.benchmark.jobs, state.shared_jobs) == ([job], [])
    assert f"running   measure_cell {OK}: job 7 on n1" in "\n".join(dashboard(state))


def test_a_config_without_a_benchmark_shows_none_and_says_how_to_have_one():
    digits = {"source": {"kind": "sklearn-digits"}, "image_size": 8}
    unet = {"name": "unet", "dim": 8, "dim_mults": [1, 2]}
    train = {"steps": 2, "batch_size": 2, "checkpoint_every": 2}
    experiment = {"dataset": "d", "model": unet, "train": train}
    config = check_config({"datasets": {"d": digits}, "experiments": {"e": experiment}})
    assert overview(config, Path("config.yaml"), Path()).benchmark is None
    assert jobs.work_names(config) == ["e"]
    with pytest.raises(UserError, match="add the grid to measure"):
        targets.benchmark_targets(config)


def test_the_report_shows_a_benchmark_whose_tables_and_figures_are_newer_than_its_cells(config):
    made = [Path(path) for path in targets.benchmark_results(config)]
    measure(config, *["ok"] * 12)
    assert not targets.benchmark_is_measured(config)
    for path in made:
        path.touch()
    assert targets.benchmark_is_measured(config)
    again = Path(benchmark_cells.cell_files(config)[3])
    again.unlink()
    assert not targets.benchmark_is_measured(config)
    again.write_text("{}")
    later = max(path.stat().st_mtime for path in made) + 1
    os.utime(again, (later, later))
    assert not targets.benchmark_is_measured(config)  # the figures are of before
