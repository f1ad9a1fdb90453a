"""Peaks are judged by what jobs ask for, and limits by the failure that is recorded."""

import json
import subprocess
import sys

import pytest

from ddpm_bench.gpu_check.memory import Asked, Peaks, judge_failure, judge_peaks, measured
from ddpm_bench.gpu_check.part import ON_A_GPU, Setting
from ddpm_bench.gpu_check.train_program import EndedProgram
from ddpm_bench.records.failures import RecordedFailure


@pytest.mark.parametrize(
    ("peaks", "outcomes"),
    [
        (Peaks(900, 500, 1000), ["pass", "pass"]),
        (Peaks(1100, 500, 900), ["fail", "pass"]),
        (Peaks(900, 900, 1100), ["pass", "fail"]),
        (Peaks(900, 0, 0), ["pass", "fail"]),  # it did not use the GPU
    ],
)
def test_a_peak_above_what_is_asked_for_fails(peaks, outcomes):
    checks = list(judge_peaks("train.py", peaks, 1000, gpu=True))
    assert [check.outcome for check in checks] == outcomes
    assert [bool(check.remedy) for check in checks] == [each == "fail" for each in outcomes]
    assert checks[0].numbers["host_peak_over_asked"] == peaks.host_mb / 1000
    assert len(list(judge_peaks("train.py", peaks, 1000, gpu=False))) == 1


@pytest.mark.parametrize(
    ("failed", "outcome"),
    [
        (("out of memory", "a process may take 9 MB (run.memory_mb_per_process)"), "pass"),
        (("out of memory", "killed (SIGKILL)"), "fail"),
        (("crashed", "RuntimeError: CUDA error: unknown"), "fail"),
        (None, "fail"),
    ],
)
def test_too_little_memory_is_recorded_with_its_key(failed, outcome):
    check = judge_failure(failed and RecordedFailure(*failed, 0, {}), 9)
    assert check.outcome == outcome
    assert bool(check.remedy) == (outcome == "fail")


def test_larger_jobs_ask_for_more(tmp_path):
    large = Setting(folder=tmp_path, gpu=False, **ON_A_GPU)
    small = Setting(folder=tmp_path, gpu=False, **{**ON_A_GPU, "dim": 16})
    asked, less = Asked.of(large), Asked.of(small)
    assert asked.compiled_mb > asked.training_mb > less.training_mb
    assert asked.sampling_mb > less.sampling_mb


def test_a_measured_program_keeps_its_arguments_and_its_status(tmp_path):
    program = tmp_path / "it.py"
    program.write_text("import sys; print(sys.argv[1:]); sys.exit(75)")
    command = [*measured(program), "--key", "value"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 75, done.stderr
    said, peaks = done.stdout.splitlines()
    assert said == "['--key', 'value']"
    assert json.loads(peaks) == {"allocated": 0, "reserved": 0}
    ended = EndedProgram(0, 1, 120.0, f"{said}\n" + json.dumps({"allocated": 2e6, "reserved": 3e6}))
    assert Peaks.of(ended) == Peaks(120.0, 2.0, 3.0)
    assert sys.executable == command[0]
