"""The part about groups: collectives with wrong results, and trainings that went apart."""

import math

import numpy as np
import pytest

from ddpm_bench.errors import UserError
from ddpm_bench.gpu_check.groups import (
    GroupPlan,
    TrainedGroup,
    check_groups,
    collective_checks,
    norm_difference,
    relative_difference,
    training_check,
)
from ddpm_bench.gpu_check.part import ON_A_GPU, Setting

TWO = GroupPlan("two processes over gloo", "gloo", 2)
NCCL = GroupPlan("one process over NCCL", "nccl", 1)
CHANGE = np.random.default_rng(0).normal(0, 1e-4, 500).astype(np.float32)
ALONE = TrainedGroup([1], [[1.0, 0.8]], [CHANGE])


def of_two(
    norms=((1.0, 0.8), (1.0, 0.8)), changes=(CHANGE, CHANGE), processes=(2, 2)
) -> TrainedGroup:
    return TrainedGroup(list(processes), [list(own) for own in norms], list(changes))


def test_processes_that_train_as_one_does_pass():
    check = training_check(TWO, of_two(changes=[CHANGE * 1.001] * 2), ALONE)
    assert check.outcome == "pass"
    assert check.numbers["weight_change_difference"] == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(
    ("ours", "reason"),
    [
        (of_two(processes=(1, 1)), "count [1] processes"),
        (of_two(changes=(CHANGE, CHANGE * 1.001)), "different weights"),
        (of_two(norms=((1.0, 0.8), (1.0, 0.9))), "1.2e-01"),
        (of_two(norms=((math.nan, 0.8), (1.0, 0.8))), "inf"),
        (of_two(changes=[CHANGE * 1.3] * 2), "3.0e-01"),
        (of_two(changes=[CHANGE * np.nan] * 2), ""),
        (of_two(changes=[CHANGE * 0] * 2), "1.0e+00"),
    ],
    ids=["no group", "apart", "norms", "nan norm", "changes", "nan weights", "nothing trained"],
)
def test_processes_that_train_otherwise_fail(ours, reason):
    check = training_check(TWO, ours, ALONE)
    assert check.outcome == "fail" and reason in check.found and check.remedy


def test_nothing_trained_alone_is_no_pass():
    still = TrainedGroup([1], [[0.0, 0.0]], [CHANGE * 0])
    assert training_check(TWO, of_two(changes=[CHANGE * 0] * 2), still).outcome == "fail"
    assert relative_difference(CHANGE, CHANGE * 0) == math.inf
    assert norm_difference([[1.0]], [0.0]) == math.inf


def test_a_collective_with_a_wrong_result_is_named():
    right = {"device": "cuda", "collectives": {"broadcast": "right", "barrier": "right"}}
    (check,) = collective_checks(NCCL, [right])
    assert check.outcome == "pass" and "2 with right results" in check.found
    wrong = {**right, "collectives": {"broadcast": "wrong", "barrier": "right"}}
    (check,) = collective_checks(NCCL, [right, wrong])
    assert check.outcome == "fail" and "1 of 2: broadcast: wrong" in check.found
    assert "NCCL_DEBUG" in check.remedy


def test_a_gpu_that_torch_cannot_use_is_one_error_for_all_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("DDPM_BENCH_STAND_IN_GPUS", raising=False)
    monkeypatch.setenv("DDPM_BENCH_DEVICES", "0")
    with pytest.raises(UserError, match="torch cannot use"):
        next(check_groups(Setting(folder=tmp_path, gpu=True, **ON_A_GPU)))
    assert not list(tmp_path.iterdir())
