"""The comparison of trainings that share cores, on a small network."""

import json
import subprocess
import sys

import pytest
from places import REPOSITORY

COMPARISONS = REPOSITORY / "comparisons"


def test_ratios_are_those_of_a_round_and_their_medians(monkeypatch):
    monkeypatch.syspath_prepend(COMPARISONS)
    from busy import summarised

    rounds = [
        {"ours": {"alone": 99.0, "together": 120.0}, "peer": {"alone": 100.0, "together": 40.0}},
        {"ours": {"alone": 50.0, "together": 90.0}, "peer": {"alone": 50.0, "together": 45.0}},
        {"ours": {"alone": 97.0, "together": 160.0}, "peer": {"alone": 100.0, "together": 40.0}},
    ]
    found = summarised(rounds)
    assert (found["ratio_alone"], found["ratio_alone_min"]) == (0.99, 0.97)
    assert found["ratio_together"] == found["ratio_median"] == 3.0
    assert (found["ratio_min"], found["ratio_max"]) == (2.0, 4.0)
    assert found["images_per_second_peer_together"] == 40.0


@pytest.mark.long
def test_both_sides_are_measured_in_turns():
    small = ["--image-size", "8", "--dim", "8", "--dim-mults", "1", "2", "--batch-size", "2"]
    command = [sys.executable, COMPARISONS / "busy.py", *small, "--pairs", "2"]
    command += ["--seconds", "1", "--warm-up", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for kind in ("together", "alone"):
        lowest, highest = found[f"ratio_{kind}_min"], found[f"ratio_{kind}_max"]
        assert 0 < lowest <= found[f"ratio_{kind}"] <= highest
