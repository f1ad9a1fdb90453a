"""The part about scores: features and scores of two devices, right ones and wrong ones."""

import math

import numpy as np
import pytest
import torch

from ddpm_bench.gpu_check.compared_scores import feature_difference, score_differences, too_large
from ddpm_bench.gpu_check.scores import (
    Extracted,
    feature_check,
    fidelity_scores,
    float32_check,
    float32_errors,
    same_scores_check,
    scores_check,
    scores_of,
)

FEATURES = np.random.default_rng(0).normal(1, 1, (60, 4)).astype(np.float32)


def changed(by: float, column: int = 0) -> np.ndarray:
    """FEATURES with one of them larger by this part."""
    factors = np.ones(4, np.float32)
    factors[column] += by
    return FEATURES * factors


def test_a_feature_that_differs_too_much_fails_however_small_it_is():
    small = FEATURES * np.float32([0.02, 1, 1, 1])
    assert feature_difference(small, small) == 0
    off = small * np.float32([1.01, 1, 1, 1])
    assert feature_difference(off, small) == pytest.approx(0.01, rel=1e-3)
    assert feature_check("inception", feature_difference(off, small)).outcome == "fail"
    close = changed(1e-4)
    assert feature_check("inception", feature_difference(close, FEATURES)).outcome == "pass"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (np.zeros_like(FEATURES), np.zeros_like(FEATURES)),
        (np.full_like(FEATURES, np.nan), FEATURES),
        (FEATURES, np.full_like(FEATURES, np.inf)),
        (FEATURES[:5], FEATURES),
    ],
    ids=["nothing computed", "nan", "inf", "fewer images"],
)
def test_features_that_cannot_be_compared_fail(ours, theirs):
    check = feature_check("inception", feature_difference(ours, theirs))
    assert check.outcome == "fail" and check.remedy
    assert check.numbers == {"feature_difference_relative": math.inf}  # null in the report


def test_scores_are_compared_relatively_and_shares_of_images_absolutely():
    theirs = {"fid": 100.0, "precision": 0.5, "kid_mean": 1e-4, "recall": None}
    ours = {"fid": 101.0, "precision": 0.51, "kid_mean": 2e-4, "recall": None}
    found = score_differences(ours, theirs)
    assert found == pytest.approx({"fid": 0.01, "precision": 0.01, "kid_mean": 1.0, "recall": 0})
    assert too_large(found, 0.02, 0.02) == ["kid_mean"]
    assert too_large(found, 0.02, 0.005) == ["precision", "kid_mean"]


def test_a_score_that_one_side_lacks_or_that_is_not_finite_differs():
    assert score_differences({"fid": None}, {"fid": 1.0}) == {"fid": math.inf}
    assert score_differences({}, {"fid": 1.0}) == {"fid": math.inf}
    ours, theirs = {"fid": math.nan}, {"fid": 1.0}
    found = score_differences(ours, theirs)
    assert too_large(found, 0.1, 0.1) == ["fid"]
    for check in (same_scores_check("inception", ours, theirs), scores_check("inception", found)):
        assert check.outcome == "fail" and "fid differ" in check.found
        assert check.numbers == {"fid_difference": math.inf}


def test_scores_of_the_same_features_are_those_of_torch_fidelity():
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (60, 5)).astype(np.float32)
    heldout = FEATURES[:20] + 0.1
    features = Extracted(changed(0.3), logits, FEATURES[::-1].copy(), heldout)
    ours, theirs = scores_of(features), fidelity_scores(features)
    assert same_scores_check("inception", ours, theirs).outcome == "pass"
    moved = scores_of(Extracted(changed(0.31), logits, features.reference, heldout))
    check = same_scores_check("inception", moved, theirs)
    assert check.outcome == "fail" and "fid" in check.found
    assert scores_check("inception", score_differences(moved, ours)).outcome == "fail"


def test_features_that_noise_does_not_change_are_no_pass():
    nothing = {"fid": 1e-12, "kid_mean": 0.0}
    check = same_scores_check("inception", nothing, nothing)
    assert check.outcome == "fail" and "noise changes nothing" in check.found


def test_tf32_is_seen_by_its_error():
    errors = float32_errors(torch.device("cpu"))
    assert float32_check(errors).outcome == "pass"
    check = float32_check({**errors, "convolution": 3e-4})
    assert check.outcome == "fail" and "TF32" in check.remedy
    assert float32_check({**errors, "matrix product": math.nan}).outcome == "fail"
