"""Part "strategies": the throughput benchmark's strategies that one GPU can run, a cell of each."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

from ddpm_bench.config.benchmark import Precision, Strategy
from ddpm_bench.gpu_check.part import SCRIPTS, Check, Setting, run_program
from ddpm_bench.gpu_check.side_by_side import first_error, lease_of_its_own, outcomes
from ddpm_bench.records.cell_record import CellRecord, Measurement
from ddpm_bench.text import size_text

ALONE = ("single", "fp32")
CELLS = tuple(
    (strategy, precision)
    for strategy in get_args(Strategy)
    for precision in (get_args(Precision) if strategy == "single" else ("fp32",))
)
WITH_STAND_INS = ("single fp32", "single bf16", "ddp fp32", "fsdp fp32", "ddp-bf16 fp32")
BATCH_SIZE = 8
MEASURING = {"steps": 10, "seconds": 0.0, "repetitions": 1}
# Largest relative difference of the losses of the warm-up steps from those of `single` in fp32.
# Kernels that are chosen by speed, and TF32, round otherwise; others send or compute in 16 bits;
# powersgd drops most of each gradient from the third step on (0.015 on a CPU at the sizes of a
# GPU); fp16 may skip a step until its loss scale fits.
CLOSE, IN_16_BITS, COMPRESSED, MAY_SKIP = 0.005, 0.02, 0.05, 0.1
LOG = "run it alone and read its log: --parts strategies --keep FOLDER"


def check_strategies(setting: Setting) -> Iterator[Check]:
    """Yield a check for each cell: measured, and with the losses of the one process alone."""
    folder = setting.folder / "strategies"
    jobs = {
        f"{strategy} {precision}": partial(_measured, setting, strategy, precision, folder)
        for strategy, precision in CELLS
        if setting.gpu or f"{strategy} {precision}" in WITH_STAND_INS
    }
    found = outcomes(jobs)
    alone = found[" ".join(ALONE)]
    expected = alone.measurement if isinstance(alone, CellRecord) else None
    for name, record in found.items():
        error = first_error([record])
        if error is not None:
            yield Check(name, "fail", str(error), LOG)
        else:
            yield cell_check(record, expected)


def _measured(setting: Setting, strategy: str, precision: str, folder: Path) -> CellRecord:
    """Measure a cell by measure_cell.py and return its record."""
    own = folder / f"{strategy}-{precision}"
    cell = {"model": "unet", "strategy": strategy, "precision": precision}
    cell |= {"batch_size": BATCH_SIZE, "processes": 1, "nodes": 1}
    network = {"name": "unet", "dim": setting.dim, "dim_mults": [1, 2]}
    measuring = {**MEASURING, "image_size": setting.image_size}
    if not setting.gpu:
        measuring["steps"] = 2
    what = {"version": 1, "cell": cell, "network": network, "measuring": measuring}
    output = own / "cell.json"
    run_program(
        SCRIPTS / "measure_cell.py",
        *("--what", what, "--how", {"minutes_per_cell": 2.0}, "--output", output),
        environment=lease_of_its_own(own),
    )
    return CellRecord.read(output)


def cell_check(record: CellRecord, alone: Measurement | None) -> Check:
    """Return the check of a cell's record.

    alone: the measurement of `single` in fp32; without it no losses are compared.
    """
    cell, measured = record.cell, record.measurement
    name = f"{cell.strategy} {cell.precision}"
    if record.status == "unsupported":
        return Check(name, "not run", record.reason or "no reason is given")
    if measured is None:
        remedy = "leave it out of benchmark.strategies, and run it alone: --parts strategies"
        if record.status == "out of memory":
            remedy = "free the GPU's memory: end the programs that nvidia-smi lists"
        return Check(name, "fail", f"{record.status}: {record.reason}", remedy)
    speed = measured.repetitions[0].samples_per_second
    peak = measured.repetitions[0].peak_memory_mb
    found = f"{speed:,.0f} images/s beside other cells, {size_text(int(peak * 1e6))}"
    numbers = {"images_per_second_beside_other_cells": speed, "peak_memory_mb": peak}
    if None in measured.losses:
        remedy = "do not train so on this GPU; report the GPU, driver and torch"
        return Check(name, "fail", f"{found}; losses that are not finite", remedy, numbers)
    if alone is None or (cell.strategy, cell.precision) == ALONE:
        return Check(name, "pass", found, numbers=numbers)
    difference = loss_difference(measured, alone)
    numbers["loss_difference_relative"] = difference
    found += f", losses {difference:.1e} from those of {' '.join(ALONE)}"
    limit = limit_of(cell.strategy, cell.precision)
    if difference <= limit:
        return Check(name, "pass", found, numbers=numbers)
    remedy = (
        f"more than {limit:g}: it does not train as one process does; leave it out of "
        "benchmark.strategies, and report the GPU, driver and torch"
    )
    return Check(name, "fail", found, remedy, numbers)


def limit_of(strategy: str, precision: str) -> float:
    """Return the largest relative difference of losses that a strategy is allowed."""
    if strategy == "powersgd" or precision == "fp16":
        return COMPRESSED if strategy == "powersgd" else MAY_SKIP
    return IN_16_BITS if precision != "fp32" or strategy in ("ddp-fp16", "ddp-bf16") else CLOSE


def loss_difference(measured: Measurement, alone: Measurement) -> float:
    """Return the largest relative difference of losses at the same step; inf if one is missing."""
    pairs = list(zip(measured.losses, alone.losses, strict=False))
    if len(measured.losses) != len(alone.losses) or None in (*measured.losses, *alone.losses):
        return math.inf
    return max(abs(ours - theirs) / abs(theirs) for ours, theirs in pairs)
