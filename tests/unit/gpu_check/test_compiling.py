"""Compiled trainings are judged by their losses and times."""

import pytest

from ddpm_bench.gpu_check.compiling import (
    TrainingTimes,
    judge_cache,
    judge_losses,
    judge_times,
    losses_of,
)
from ddpm_bench.gpu_check.part import ProgramError

METRICS = "step,images_seen,loss,learning_rate\n10,80,0.5,0.1\n20,160,0.4,0.1\n"


def test_losses_are_those_of_the_rows():
    assert losses_of(METRICS) == [0.5, 0.4]
    for broken in ("", "step,loss\n", "step\n10\n"):
        with pytest.raises(ProgramError, match="no losses"):
            losses_of(broken)


@pytest.mark.parametrize(
    ("compiled", "outcome"),
    [
        ([0.5, 0.4], "pass"),
        ([0.5001, 0.45], "pass"),  # later steps go apart
        ([0.505, 0.4], "fail"),
        ([float("nan"), 0.4], "fail"),
        ([0.5], "fail"),
        ([], "fail"),
    ],
)
def test_first_losses_agree_with_eager_ones(compiled, outcome):
    check = judge_losses("n", [0.5, 0.4], compiled)
    assert check.outcome == outcome
    assert bool(check.remedy) == (outcome == "fail")


def test_a_cache_without_code_fails(tmp_path):
    assert judge_cache(tmp_path / "compiled").outcome == "fail"
    (tmp_path / "compiled" / "ab").mkdir(parents=True)
    assert judge_cache(tmp_path / "compiled").outcome == "fail"
    (tmp_path / "compiled" / "ab" / "code.py").write_text("1")
    assert judge_cache(tmp_path / "compiled").outcome == "pass"


def test_a_kept_cache_that_saves_nothing_fails():
    timed = {
        "eager": TrainingTimes(5, 80.0),
        "cold": TrainingTimes(60, 120.0),
        "kept": TrainingTimes(15, 120.0),
    }
    check = judge_times(timed, batch_size=8)
    assert check.outcome == "measured"
    assert check.numbers["kept_steps_per_second"] == 15
    assert check.numbers["compiled_speed_over_eager"] == 1.5
    check = judge_times({**timed, "kept": TrainingTimes(61, 120.0)}, batch_size=8)
    assert check.outcome == "fail" and check.remedy
