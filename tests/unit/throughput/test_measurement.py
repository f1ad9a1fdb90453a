"""Measurement of a cell: enough steps, true times, memory, and waits between processes."""

import functools
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import strategy_runs
import torch
import torch.distributed as dist
from places import SCRIPTS
from strategy_runs import CPU, MEASURED, MEASURED_STRATEGIES, stage_of

from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.records.cell_record import Measurement
from ddpm_bench.throughput.communication import union_length
from ddpm_bench.throughput.measurement import measure
from ddpm_bench.throughput.step_times import (
    milliseconds_of_steps,
)
from ddpm_bench.throughput.strategies.build import build_trainer
from ddpm_bench.throughput.workloads.build import build_workload

SMALL = {"warmup_steps": 3, "steps": 2, "seconds": 0.0, "repetitions": 1}
MEGABYTE = 10**6


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@functools.cache
def losses_alone() -> tuple[float, ...]:
    return measure(stage_of("single", **SMALL)).losses


def test_a_repetition_has_the_steps_and_the_seconds_asked_for(capfd):
    stage = stage_of("single", **{**MEASURED, "steps": 7, "seconds": 0.0})
    assert [item.steps for item in measure(stage).repetitions] == [7, 7]
    stage = stage_of("single", **{**MEASURED, "steps": 1, "seconds": 0.3})
    measured = measure(stage)
    for item in measured.repetitions:
        assert item.seconds >= 0.3
        assert item.steps > 1
        assert item.step_ms_q1 <= item.step_ms_median <= item.step_ms_q3
        assert 0.1 < item.step_ms_median * item.steps / (item.seconds * 1e3) < 2  # one unit
        assert item.samples_per_second == pytest.approx(8 / item.step_ms_median * 1e3)
    assert "repetition 2 of 2" in capfd.readouterr().err


def test_warm_up_losses_are_those_of_training(capfd):
    stage = stage_of("single", **{**SMALL, "warmup_steps": 4})
    workload = build_workload(stage.network, stage.measuring, 8, None)
    expected = strategy_runs.losses(build_trainer(stage, workload, CPU), 4)
    assert measure(stage).losses == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "strategy",
    ["single", "ddp", "ddp-fp16", "powersgd", "fsdp", "pipeline-gpipe", "pipeline-1f1b"],
)
def test_one_process_holds_all_and_sends_nothing(strategy):
    measured = measure(stage_of(strategy, **SMALL))
    assert measured.parameter_bytes == (4 * measured.parameters,)
    assert measured.sent_bytes_per_step == 0 and measured.communication_share == 0
    assert measured.losses == pytest.approx(losses_alone(), rel=1e-3)
    assert not dist.is_initialized()


@pytest.mark.parametrize("strategy", MEASURED_STRATEGIES)
def test_two_processes_are_measured_as_one_cell(strategy_results, strategy):
    first, second = (result["measured"][strategy] for result in strategy_results)
    assert second is None  # one process reports
    measured = Measurement.model_validate(first)
    assert measured.losses == pytest.approx(losses_alone(), rel=1e-4)
    assert len(measured.repetitions) == MEASURED["repetitions"]
    for item in measured.repetitions:
        assert item.steps >= MEASURED["steps"] and item.seconds >= MEASURED["seconds"]
        assert item.samples_per_second == pytest.approx(8 / item.step_ms_median * 1e3)
    assert 0 < measured.communication_share < 1
    whole = 4 * measured.parameters
    held = {"ddp": 2 * whole, "pipeline-gpipe": whole}
    assert sum(measured.parameter_bytes) == held[strategy]
    if strategy == "ddp":
        assert measured.sent_bytes_per_step == whole


def test_losses_that_are_not_finite_are_left_out():
    stage = stage_of("single", **SMALL, optimizer="sgd", learning_rate=1e30)
    measured = measure(stage)
    assert measured.losses[0] is not None and measured.losses[2] is None
    assert Measurement.model_validate_json(measured.model_dump_json()) == measured


def test_given_images_are_trained_on():
    dark = np.zeros((3, 8, 8, 3), np.uint8)
    assert measure(stage_of("single", **SMALL), dark).losses != losses_alone()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_is_measured_on_cpus_too(precision):
    low = measure(stage_of("single", **SMALL, precision=precision)).losses
    assert low == pytest.approx(losses_alone(), rel=0.02) and low != losses_alone()


def test_threads_are_those_of_the_config(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    asked_for = []
    monkeypatch.setattr(torch, "set_num_threads", asked_for.append)
    measure(stage_of("single", **SMALL, cpus=3))
    assert asked_for == [3]


def test_a_failure_is_told_before_the_process_group_ends(tmp_path):
    """To end it may take the other processes, which wait for the one that failed."""
    broken = tmp_path / "broken.py"
    broken.write_text("def build(samples):\n    raise ValueError('no data')\n")
    what = stage_of("ddp", **SMALL).model_dump(mode="json")
    what["network"] = {"name": "own", "path": str(broken)}
    with pytest.raises(Exception, match="no data"):
        measure(CellStage.model_validate(what))
    assert dist.is_initialized()
    dist.destroy_process_group()


def test_each_step_has_its_own_time():
    waits = iter([0.05, 0.15, 0.01])
    times, seconds = milliseconds_of_steps(lambda: time.sleep(next(waits)), 3, CPU)
    assert times[1] > times[0] > times[2] >= 10
    assert sum(times) <= seconds * 1e3


PEAKS = """
import torch
from ddpm_bench.throughput.step_times import peak_memory_bytes, reset_peak_memory

cpu = torch.device("cpu")
reset_peak_memory(cpu)
before = peak_memory_bytes(cpu)
big = torch.ones(64_000_000, dtype=torch.uint8)
with_big = peak_memory_bytes(cpu)
del big
reset_peak_memory(cpu)
print(before, with_big, peak_memory_bytes(cpu))
"""


def test_peak_memory_is_that_since_the_reset():
    # In a process of its own: pages of one that holds gigabytes may be taken away meanwhile.
    done = subprocess.run(
        [sys.executable, "-c", PEAKS], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    before, with_big, after = map(int, done.stdout.split())
    assert with_big >= before + 60 * MEGABYTE
    assert after <= before + 30 * MEGABYTE


def test_transfers_that_overlap_count_once():
    assert union_length([]) == 0
    assert union_length([(5, 9), (0, 4), (3, 6), (7, 8), (20, 21)]) == 10


def test_who_waits_for_another_communicates(strategy_results):
    late, waiting = (result["shares"]["with all-reduces"] for result in strategy_results)
    assert late < 0.5 < waiting <= 1
    assert [result["shares"]["without"] for result in strategy_results] == [0, 0]
