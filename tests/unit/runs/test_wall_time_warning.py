"""SLURM's warning reaches the program that can save, by real processes below one another."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from places import SCRIPTS

# As the Snakemake of a job: passes on, and waits for the shell that runs the program.
MIDDLE = """
import subprocess, sys
from ddpm_bench.runs.wall_time_warning import pass_warnings_on

pass_warnings_on()
print("ready", flush=True)
sys.exit(subprocess.run(["bash", "-c", sys.argv[1]]).returncode)
"""
# Two processes: the second is started by the first, and neither ends before it has heard.
CATCHES = "trap 'echo heard; exit 75' USR1; echo catching; while :; do sleep 0.05; done"


@pytest.fixture
def middle() -> Iterator:
    processes = []

    def start(program: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", MIDDLE, program],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
            start_new_session=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_program_hears_it_through_processes_that_do_not_catch_it(middle):
    process = middle(f'bash -c "sleep 0; bash -c \\"{CATCHES}\\"; exit \\$?"; exit $?')
    assert process.stdout.readline() == "catching\n"
    process.send_signal(signal.SIGUSR1)
    assert process.communicate(timeout=20)[0] == "heard\n"
    assert process.returncode == 75


def test_a_program_that_is_still_starting_hears_it_later(middle):
    process = middle(f"echo starting; read < <(sleep 1); {CATCHES}")
    assert process.stdout.readline() == "starting\n"
    process.send_signal(signal.SIGUSR1)
    assert process.communicate(timeout=20)[0] == "catching\nheard\n"


def test_a_program_that_does_not_catch_it_goes_on(middle):
    process = middle("echo working; read < <(sleep 1.5); echo done; exit 3")
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGUSR1)
    assert process.communicate(timeout=20)[0] == "done\n"
    assert process.returncode == 3
