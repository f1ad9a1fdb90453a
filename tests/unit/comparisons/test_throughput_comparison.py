"""The comparison of a cell's steps against a plain loop, run as its users run it."""

import json
import subprocess
import sys

from places import REPOSITORY

PROGRAM = REPOSITORY / "comparisons" / "throughput.py"
SMALL = ["--batch-size", "2", "--steps", "1", "--warm-up", "1", "--pairs", "2"]


def comparison(*options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, PROGRAM, *SMALL, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_both_sides_take_turns():
    done = comparison("--strategy", "ddp")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ratio_min"] <= found["ratio_median"] <= found["ratio_max"]
    sides = ("ours", "peer", "peer_channels_last")
    assert all(found[f"images_per_second_{side}"] > 0 for side in sides)
    assert (found["processes"], found["batch_size"], found["precision"]) == (1, 2, "fp32")
    assert found["torch"] and found["torchvision"]
    assert done.stderr.count(" images/s\n") == 2


def test_one_process_cannot_be_several():
    done = comparison("--processes", "2")
    assert done.returncode == 2
    assert "add --strategy ddp" in done.stderr
