"""The comparison of scoring, run as its users run it, on a few images."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

PROGRAM = REPOSITORY / "comparisons" / "score.py"


def comparison(*options: str | Path) -> dict:
    command = [sys.executable, PROGRAM, *options, "--threads", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.long
def test_it_compares_our_scores_with_torch_fidelitys_and_all_times(sysu_shape):
    found = comparison(
        "--images", sysu_shape, "--scale", "0.01", "--checkpoints", "1", "--pairs", "1"
    )
    for score in ("fid", "is_mean", "kid_mean", "precision", "recall"):
        assert found[f"relative_difference_{score}"] < 1e-5
    assert found["scores_torch_fidelity"]["fid"] > 1
    assert found["ratio_min"] <= found["ratio_median"] <= found["ratio_max"]
    assert found["images_generated"] == 10 and found["images_reference"] == 15
    assert found["peak_memory_mb_ours"] > 0 and found["peak_memory_mb_torch_fidelity"] > 0


@pytest.mark.long
def test_memory_grows_by_little_more_than_the_features(sysu_shape):
    few, many = (
        comparison("--images", sysu_shape, "--memory", "--memory-images", str(count))
        for count in (500, 10_500)
    )
    features = 10_000 * 2048 * 4 / 1e6
    assert many["peak_memory_mb_ours"] - few["peak_memory_mb_ours"] < 2.5 * features
