"""The comparison of a killed training with one that ran through sees what is broken."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from ddpm_bench.gpu_check.part import ProgramError, Setting
from ddpm_bench.gpu_check.resuming import (
    Difference,
    check_resuming,
    compare_runs,
    compare_weights,
    differing_row,
    judge_metrics,
    judge_weights,
)
from ddpm_bench.gpu_check.train_program import CHECKPOINT_EVERY, STEPS, Training


def weights(**changed):
    drawn = np.random.RandomState(0).randn(2, 8).astype(np.float32)
    return {"a": drawn[0], "b": drawn[1], **changed}


EARLIER = {name: value - 0.5 for name, value in weights().items()}


def nudged():
    other = weights()
    other["b"][3] = np.nextafter(other["b"][3], np.float32(9))
    return other


def test_the_same_bits_pass():
    apart = compare_weights(weights(), weights(), EARLIER)
    assert apart == Difference(None, 0.0, 0.0, pytest.approx(0.5))
    assert judge_weights("n", 8, apart, deterministic=True).outcome == "pass"


def test_one_bit_fails_with_the_tensor_and_is_measured_without_deterministic_kernels():
    apart = compare_weights(weights(), nudged(), EARLIER)
    assert apart.first == "b" and 0 < apart.rms < apart.largest < 1e-6
    check = judge_weights("n", 8, apart, deterministic=True)
    assert check.outcome == "fail" and "b is the first tensor" in check.found and check.remedy
    check = judge_weights("n", 8, apart, deterministic=False)
    assert check.outcome == "measured"
    assert check.numbers["rms_difference_over_change"] == pytest.approx(apart.rms / 0.5)


def test_a_sign_of_zero_is_a_difference():
    apart = compare_weights({"a": np.zeros(2)}, {"a": np.array([0.0, -0.0])}, {"a": np.ones(2)})
    assert apart.first == "a" and apart.largest == 0


@pytest.mark.parametrize(
    "broken",
    [
        {"a": np.full(8, np.nan, np.float32)},
        {"a": np.zeros(7, np.float32)},
        {"c": np.zeros(8, np.float32)},
        {"b": np.full(8, 100, np.float32)},
    ],
    ids=["not a number", "another shape", "another tensor", "another training"],
)
@pytest.mark.parametrize("deterministic", [True, False])
def test_broken_weights_fail_with_whatever_kernels(broken, deterministic):
    apart = compare_weights(weights(), weights(**broken), EARLIER)
    check = judge_weights("n", 8, apart, deterministic)
    assert check.outcome == "fail" and check.remedy


def test_weights_are_compared_that_lie_in_checkpoints(tmp_path):
    setting = Setting(tmp_path, False, 16, 8, (1, 2), 8)
    straight, again = Training(setting, "straight"), Training(setting, "again")
    for training, step, content in (
        (straight, CHECKPOINT_EVERY, EARLIER),
        (straight, STEPS, weights()),
        (again, STEPS, nudged()),
    ):
        training.checkpoint(step).parent.mkdir(parents=True, exist_ok=True)
        save_file(content, training.checkpoint(step))
    assert compare_runs(straight, again).first == "b"
    again.checkpoint(STEPS).write_bytes(b"cut")
    with pytest.raises(ProgramError, match=again.checkpoint(STEPS).name):
        compare_runs(straight, again)


def test_the_first_row_that_differs_is_shown():
    straight = "step,loss\n10,0.5\n20,0.4\n"
    assert judge_metrics("n", differing_row(straight, straight)).outcome == "pass"
    check = judge_metrics("n", differing_row(straight, "step,loss\n10,0.5\n20,0.41\n"))
    assert check.outcome == "fail" and "20,0.41" in check.found and check.remedy
    check = judge_metrics("n", differing_row(straight, "step,loss\n10,0.5\n"))
    assert check.outcome == "fail" and "none" in check.found


def test_an_error_of_one_kind_of_training_leaves_the_other(tmp_path, monkeypatch):
    def trained(setting, deterministic):
        if deterministic:
            raise ProgramError("train.py ended with status 1: no")
        apart = compare_weights(weights(), nudged(), EARLIER)
        return [judge_weights("n", 8, apart, deterministic)]

    monkeypatch.setattr("ddpm_bench.gpu_check.resuming.prepared_dataset", lambda setting: None)
    monkeypatch.setattr("ddpm_bench.gpu_check.resuming._killed_beside_straight", trained)
    checks = list(check_resuming(Setting(tmp_path, True, 64, 64, (1, 2), 8)))
    assert [check.outcome for check in checks] == ["fail", "measured"]
    assert "status 1: no" in checks[0].found and checks[0].remedy
