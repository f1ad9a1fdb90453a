"""The part about strategies: cells that are measured, unsupported or broken."""

import pytest

from ddpm_bench.config.benchmark import Cell
from ddpm_bench.gpu_check.strategies import CELLS, cell_check, loss_difference
from ddpm_bench.records.cell_record import CellRecord, Environment, Measurement, Repetition

ALONE = (1.2, 1.1, 1.0, 0.95)
NOTHING = {"cuda": None, "nccl": None, "git_commit": None, "slurm_job": None}
TEXTS = {
    name: "1"
    for name, item in Environment.model_fields.items()
    if item.annotation is str and name not in NOTHING
}
ENVIRONMENT = Environment(**TEXTS, **NOTHING, devices=1, cpus=1, backend="none")


def measured(losses=ALONE) -> Measurement:
    repetition = Repetition(
        steps=10, seconds=1.0, step_ms_median=100.0, step_ms_q1=99.0, step_ms_q3=101.0,
        samples_per_second=80.0, peak_memory_mb=700.0,
    )  # fmt: skip
    return Measurement(
        repetitions=(repetition,), sample="image", memory="GPU, allocated", sent_bytes_per_step=0,
        communication_share=0.0, parameters=1, parameter_bytes=(4,), losses=losses,
    )  # fmt: skip


def record(strategy="ddp", precision="fp32", status="ok", reason=None, losses=ALONE) -> CellRecord:
    cell = Cell(
        model="unet", strategy=strategy, precision=precision, batch_size=8, processes=1, nodes=1
    )
    measurement = measured(losses) if status == "ok" else None
    return CellRecord(
        cell=cell, status=status, reason=reason, environment=ENVIRONMENT, measurement=measurement
    )


def test_every_strategy_has_a_cell_and_single_all_precisions():
    assert len(CELLS) == len(set(CELLS)) == 10
    assert {precision for strategy, precision in CELLS if strategy == "single"} == {
        *("fp32", "bf16", "fp16")
    }


def test_a_measured_cell_passes_with_its_speed_and_memory():
    check = cell_check(record(), measured())
    assert check.outcome == "pass" and "80 images/s" in check.found and "700 MB" in check.found
    assert check.numbers == {
        "images_per_second_beside_other_cells": 80.0,
        "peak_memory_mb": 700.0,
        "loss_difference_relative": 0.0,
    }


def test_an_unsupported_cell_is_not_run_and_others_without_a_measurement_fail():
    check = cell_check(record(status="unsupported", reason="needs NCCL"), measured())
    assert (check.outcome, check.found) == ("not run", "needs NCCL")
    for status in ("crashed", "timed out", "out of memory"):
        check = cell_check(record(status=status, reason="so it was"), measured())
        assert check.outcome == "fail" and check.found == f"{status}: so it was" and check.remedy


@pytest.mark.parametrize(
    ("strategy", "precision", "factor", "outcome"),
    [
        ("ddp", "fp32", 1.001, "pass"),
        ("ddp", "fp32", 1.01, "fail"),
        ("fsdp", "fp32", 0.99, "fail"),
        ("ddp-fp16", "fp32", 1.01, "pass"),
        ("single", "bf16", 1.01, "pass"),
        ("single", "bf16", 1.03, "fail"),
        ("powersgd", "fp32", 1.03, "pass"),
        ("powersgd", "fp32", 1.06, "fail"),
        ("single", "fp16", 1.2, "fail"),
    ],
)
def test_losses_agree_with_those_of_one_process_as_far_as_the_strategy_allows(
    strategy, precision, factor, outcome
):
    losses = (ALONE[0], *(loss * factor for loss in ALONE[1:]))
    check = cell_check(record(strategy, precision, losses=losses), measured())
    assert check.outcome == outcome and (outcome == "pass" or check.remedy)


def test_losses_that_are_not_finite_fail_in_the_cell_alone_too():
    for strategy in ("single", "ddp"):
        check = cell_check(record(strategy, losses=(1.2, None, 1.0, 0.9)), measured())
        assert check.outcome == "fail" and "not finite" in check.found
    assert cell_check(record(), measured((1.2, None, 1.0, 0.9))).outcome == "fail"
    assert cell_check(record(), None).outcome == "pass"  # `single` fails in a row of its own
    assert loss_difference(measured(ALONE[:2]), measured()) == float("inf")
