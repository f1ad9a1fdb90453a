"""A main snakemake that was killed is known by what it left, and by nothing that lives."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from places import SCRIPTS

from ddpm_bench.runs.main_process import killed, record

DIES = """
import os, signal, sys
from pathlib import Path
from ddpm_bench.runs.main_process import record
record(Path("results"), ["a"])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A locked working folder whose main process was killed."""
    monkeypatch.chdir(tmp_path)
    died = subprocess.run(
        [sys.executable, "-c", DIES], env={**os.environ, "PYTHONPATH": str(SCRIPTS)}, check=False
    )
    assert died.returncode == -signal.SIGKILL
    lock = tmp_path / ".snakemake" / "locks" / "0.input.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    return tmp_path


def test_a_killed_main_process_of_a_locked_folder_is_found(folder, monkeypatch):
    found = killed(Path("results"), ["a", "b"])
    assert found is not None and found.folder == str(folder)
    assert killed(Path("results"), ["b"]) is None  # it worked on other experiments
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert killed(folder / "results", ["a"]) is None  # it worked in another folder


def test_nothing_is_said_where_nothing_is_locked(folder):
    (folder / ".snakemake" / "locks" / "0.input.lock").unlink()
    assert killed(Path("results"), ["a"]) is None


def test_nothing_is_said_beside_a_main_process_that_lives(folder):
    record(Path("results"), ["a"])
    assert killed(Path("results"), ["a"]) is None
