"""`make gpu-check` on a machine without a GPU: the program itself, with stand-ins."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from places import COMMANDS

from ddpm_bench.gpu_check.parts import PARTS


def checked(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess, dict]:
    """Run the check with stand-ins; return the program and its report."""
    report = folder / "report.json"
    command = [sys.executable, str(COMMANDS / "gpu_check.py"), "--stand-ins"]
    command += ["--output", str(report), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return done, json.loads(report.read_text())


def failures(report: dict) -> list[str]:
    rows = (check for part in report["parts"] for check in part["checks"])
    return [f"{row['name']}: {row['found']}" for row in rows if row["outcome"] == "fail"]


def test_parts_run_with_stand_ins(tmp_path):
    done, report = checked(tmp_path, "--parts", "leases", "sampling")
    assert failures(report) == []
    assert done.returncode == 0, done.stderr
    assert [part["name"] for part in report["parts"]] == ["machine", "leases", "sampling"]
    assert "Stand-ins computed on the CPU. They do not show:" in done.stdout
    assert "the GPU's images" in done.stdout


@pytest.mark.long
def test_all_parts_run_with_stand_ins(tmp_path):
    done, report = checked(tmp_path, "--minutes", "30")
    assert failures(report) == []
    assert done.returncode == 0, done.stderr
    assert [part["name"] for part in report["parts"]] == [part.name for part in PARTS]


def test_without_a_gpu_the_exit_status_is_2_and_the_error_names_the_option(tmp_path):
    command = [sys.executable, str(COMMANDS / "gpu_check.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no GPU is found")
    assert "--stand-ins" in done.stderr
    assert not list(tmp_path.iterdir())
