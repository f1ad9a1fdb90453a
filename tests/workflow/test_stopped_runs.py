"""A signal to the main process of Snakemake: trainings save, and one line says how to go on."""

import os
import re
import signal
import subprocess
import time

import pytest
from conftest import Study

STOPPED = re.compile(
    r"stopped; small: training is saved at step ([\d,]+) of 100,000, and goes on from there; "
    r"to go on: (.*)"
)


@pytest.fixture
def long_study(study) -> Study:
    """A study whose training would take an hour, and saves only when it is stopped."""
    run = {"cpus": 1, "save_seconds": 3600}
    study.experiment["train"].update(steps=100_000, checkpoint_every=100_000, run=run)
    return study


def rows(study: Study) -> int:
    """Number of rows that trainings of the study have logged."""
    logs = (study.results / "training").glob("*/progress.jsonl")
    return sum(path.read_text().count('"trained"') for path in logs)


def stopped(study: Study, stop, **environment: str) -> tuple[int, str]:
    """Run a study until it trains, stop it; return the saved step and the command to go on."""
    before = rows(study)
    workflow = subprocess.Popen(
        study.command("trained"),
        cwd=study.folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while rows(study) == before:
            assert workflow.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        stop(workflow.pid)
        printed, _ = workflow.communicate(timeout=60)
    finally:
        workflow.kill()
    assert workflow.returncode == 1
    for unwanted in ("Traceback", "Error", "did not complete", "finishing currently running"):
        assert unwanted not in printed, printed
    found = STOPPED.fullmatch(printed.strip().splitlines()[-1])
    assert found, printed
    return int(found[1].replace(",", "")), found[2]


def test_kill_and_ctrl_c_save_the_training_and_end_with_the_way_on(long_study):
    first, command = stopped(long_study, lambda pid: os.kill(pid, signal.SIGTERM))
    assert first > 0
    assert command.startswith("snakemake --snakefile ")
    assert not list((long_study.folder / ".snakemake" / "locks").glob("*"))

    second, command = stopped(  # Ctrl-C reaches everything that the terminal runs
        long_study, lambda pid: os.killpg(pid, signal.SIGINT), DDPM_BENCH_COMMAND="make run CORES=2"
    )
    assert second > first
    assert command == "make run CORES=2"
    assert long_study.executed_steps()[-1] == (first, second)
