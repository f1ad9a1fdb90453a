"""Trainings of the GPU check: their times, their memory, and programs that fail."""

import json
import sys
from datetime import UTC, datetime

import psutil
import pytest

from ddpm_bench.gpu_check.part import ProgramError, Setting
from ddpm_bench.gpu_check.train_program import (
    EndedProgram,
    Training,
    complete,
    is_in_the_middle,
    memory_of,
)


@pytest.fixture
def training(tmp_path):
    return Training(Setting(tmp_path, False, 16, 8, (1, 2), 8), "some", program=(sys.executable,))


def event(name, step, second=0, **more):
    time = datetime.fromtimestamp(1000 + second, UTC).isoformat()
    return {"time": time, "event": name, "step": step, **more}


def test_it_is_killed_after_a_state_and_a_row():
    assert not is_in_the_middle([event("started", 0), event("state saved", 1)])
    assert not is_in_the_middle([event("started", 0), event("trained", 10)])
    assert is_in_the_middle([event("state saved", 1), event("trained", 10)])


def test_the_first_step_takes_what_ten_steps_take_less_nine_at_the_later_speed(training):
    lines = [
        event("started", 0, 5),
        event("trained", 10, 30, images_per_second=2.0),
        event("trained", 20, 32, images_per_second=40.0),
        event("checkpoint", 20, 37),
        event("trained", 30, 39, images_per_second=10.0),
        event("trained", 40, 41, images_per_second=40.0),
    ]
    folder = training.folder / "training" / "0123"
    folder.mkdir(parents=True)
    (folder / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert training.speed() == 40.0
    assert training.seconds_to_first_step(began=1000) == pytest.approx(30 - 9 * 8 / 40)
    (folder / "progress.jsonl").write_text(json.dumps(lines[1]) + "\n")
    with pytest.raises(ProgramError, match="1 rows, too few"):
        training.speed()


def test_what_an_earlier_part_trained_is_not_trained_again(training, monkeypatch):
    ended = EndedProgram(1.0, 2.0, 3.0, "")
    monkeypatch.setattr("ddpm_bench.gpu_check.train_program.complete", lambda *_: ended)
    monkeypatch.setattr(Training, "command", lambda self: [sys.executable, "-c", ""])
    assert training.done() == ended
    monkeypatch.setattr(Training, "complete", None)
    assert training.done() == ended


def test_a_program_that_fails_is_an_error_with_its_last_lines(tmp_path):
    program = tmp_path / "it.py"
    program.write_text("import sys; sys.exit('error: no room')")
    with pytest.raises(ProgramError, match=r"it\.py ended with status 1: error: no room"):
        complete([sys.executable, str(program)], tmp_path / "log", {})


def test_memory_is_that_of_a_program_and_of_all_that_it_started(tmp_path):
    code = (
        "import subprocess, sys, time; more = bytearray(30 * 10**6); "
        "subprocess.run([sys.executable, '-c', "
        "'import time; more = bytearray(60 * 10**6); time.sleep(0.7)'])"
    )
    ended = complete([sys.executable, "-c", code], tmp_path / "log", {})
    assert 90 < ended.peak_mb < 200


def test_a_process_that_is_gone_holds_nothing():
    gone = next(number for number in range(2**22 - 1, 0, -1) if not psutil.pid_exists(number))
    assert memory_of(gone) == 0
