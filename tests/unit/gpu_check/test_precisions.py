"""Precisions are judged by their distance from float32."""

import math
from dataclasses import replace

import pytest

from ddpm_bench.gpu_check.precisions import Losses, judge, judge_exact, judge_scale

EXACT = Losses((0.5, 0.4, 0.3, 0.2), (1.0,) * 4, 100.0, 1.0)


def moved(share):
    return replace(EXACT, losses=tuple(loss * (1 + share) for loss in EXACT.losses))


def test_float32_is_finite():
    assert judge_exact(EXACT).outcome == "pass"
    assert judge_exact(replace(EXACT, losses=(0.5, math.nan))).outcome == "fail"
    assert judge_exact(replace(EXACT, norms=(1.0, math.inf))).outcome == "fail"


@pytest.mark.parametrize(
    ("precision", "share", "outcome"),
    [
        ("bf16", 2**-9, "pass"),
        ("bf16", 2**-7, "fail"),
        ("fp16", 2**-12, "pass"),
        ("fp16", 2**-9, "fail"),
        ("tf32", 2**-12, "pass"),
        ("tf32", 2**-9, "fail"),
        ("bf16", math.nan, "fail"),
    ],
)
def test_the_tolerance_is_one_rounding(precision, share, outcome):
    check = judge(precision, moved(share), EXACT)
    assert check.outcome == outcome
    assert bool(check.remedy) == (outcome == "fail")


def test_later_losses_that_go_their_own_way_fail():
    trained = replace(EXACT, losses=(0.5, 0.45, 0.35, 0.25))
    assert judge("bf16", trained, EXACT).outcome == "fail"
    assert judge("bf16", replace(EXACT, losses=(0.5, 0.4, 0.3, math.nan)), EXACT).outcome == "fail"


def test_after_a_skipped_step_losses_are_of_other_weights_and_are_not_compared():
    trained = replace(EXACT, losses=(0.5, 0.5, 0.4, 0.3), norms=(math.inf, 1.0, 1.0, 1.0))
    assert judge("fp16", trained, EXACT).outcome == "pass"


@pytest.mark.parametrize(
    ("norms", "outcome"),
    [
        ((1.0,) * 8, "pass"),
        ((math.inf, math.nan, *(1.0,) * 6), "pass"),
        ((*(1.0,) * 7, math.inf), "fail"),
        ((*(math.inf,) * 11, *(1.0,) * 21), "fail"),
    ],
)
def test_the_loss_scale_settles(norms, outcome):
    check = judge_scale(Losses((0.5,) * len(norms), norms, 100.0, 2.0**15))
    assert check.outcome == outcome
    assert bool(check.remedy) == (outcome == "fail")
