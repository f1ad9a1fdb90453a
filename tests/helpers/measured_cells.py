"""Cells for tests: measure_cell.py as a process, whose own processes do what a test says."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from places import REPOSITORY

from ddpm_bench.records.cell_record import CellRecord

PROGRAM = REPOSITORY / "workflow" / "scripts" / "measure_cell.py"
# Python runs it first in every process that finds it: `measure` of the processes of the cell.
STAND_IN = """
import sys, types

def measure(stage, images):
    defined = {{}}
    exec(open({measure!r}).read(), defined)
    return defined["measure"](stage, images)

module = types.ModuleType("ddpm_bench.throughput.measurement")
module.measure = measure
sys.modules[module.__name__] = module
"""
MEASURED = """
from ddpm_bench.records.cell_record import Measurement, Repetition
def measured(step_ms=20.0, samples_per_second=100.0):
    one = Repetition(steps=20, seconds=3.0, step_ms_median=step_ms, step_ms_q1=step_ms,
        step_ms_q3=step_ms, samples_per_second=samples_per_second, peak_memory_mb=700.0)
    return Measurement(repetitions=(one,), sample="image", memory="process, resident",
        sent_bytes_per_step=0, communication_share=0.0, parameters=1, parameter_bytes=(4,),
        losses=(1.0,))
"""


@dataclass
class MeasuredCell:
    """A cell in a folder. measure: the source of `measure(stage, images)` in its processes, or None
    for the real one; torch cannot be imported then but by the processes of the cell."""

    folder: Path
    measure: str | None = None
    cell: dict = field(default_factory=dict)
    measuring: dict = field(default_factory=dict)
    network: dict = field(default_factory=lambda: {"name": "resnet18"})
    minutes: float = 1.0
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def output(self) -> Path:
        return self.folder / "cells" / "small.json"

    def start(self) -> subprocess.Popen:
        stand_ins = self.folder / "stand-ins"
        stand_ins.mkdir(exist_ok=True)
        if self.measure is not None:
            (stand_ins / "measure.py").write_text(MEASURED + self.measure)
            text = STAND_IN.format(measure=str(stand_ins / "measure.py"))
            (stand_ins / "sitecustomize.py").write_text(text)
            (stand_ins / "torch.py").write_text("raise ImportError('torch is not needed here')")
        given = ["--what", self.what(), "--how", json.dumps({"minutes_per_cell": self.minutes})]
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), *given, "--images", "--output", str(self.output)],
            env={**os.environ, "PYTHONPATH": str(stand_ins), **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def what(self) -> str:
        cell = {"model": "small", "strategy": "ddp", "precision": "fp32", "batch_size": 4}
        cell |= {"processes": 2, "nodes": 1, **self.cell}
        what = {"version": 1, "cell": cell, "network": self.network, "measuring": self.measuring}
        return json.dumps(what)

    def complete(self) -> tuple[CellRecord, str]:
        """Its record, and what it printed."""
        process = self.start()
        _, printed = process.communicate(timeout=120)
        assert process.returncode == 0, printed
        return self.record(), printed

    def record(self) -> CellRecord:
        return CellRecord.model_validate_json(self.output.read_text())

    def left_over(self) -> list[Path]:
        """Return the files beside the record."""
        return [path for path in self.output.parent.iterdir() if path != self.output]


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
