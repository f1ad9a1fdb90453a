"""Memorisation: copies of training images differ from new images of the same distribution."""

import numpy as np
import pytest

from ddpm_bench.records.memorised_share import chance_interval, memorised_share
from ddpm_bench.records.nearest import Nearest
from ddpm_bench.scoring.metrics import neighbours
from ddpm_bench.scoring.metrics.memorising import (
    closer_than_heldout,
    memorising_scores,
    nearest_training_images,
)

TRAIN, HELD_OUT, GENERATED = 2000, 1000, 1500


def images(seed: int, count: int) -> np.ndarray:
    """Return features of images of one distribution, none near the origin: float32 [count, 8]."""
    return np.random.default_rng(seed).normal(10, 1, (count, 8)).astype(np.float32)


def scores_of(generated: np.ndarray) -> dict:
    found = nearest_training_images(generated, images(0, TRAIN), images(1, HELD_OUT))
    return memorising_scores(found)[0]


def test_new_images_are_as_near_to_training_images_as_held_out_ones():
    scores = scores_of(images(2, GENERATED))
    assert scores["closer_than_heldout"] == pytest.approx(0.5, abs=0.04)
    assert scores["memorised_share"] == pytest.approx(0.05, abs=0.025)
    assert scores["nearest_generated"] == pytest.approx(scores["nearest_heldout"], rel=0.05)


@pytest.mark.parametrize(
    ("generated", "heldout"), [(64, 19), (500, 20), (500, 37), (300, 359), (30, 100), (2000, 250)]
)
def test_the_share_is_five_percent_by_chance_in_the_interval_beside_it(generated, heldout):
    random, draws = np.random.default_rng(0), 1000
    shares = np.array(
        [memorised_share(random.random(generated), random.random(heldout)) for _ in range(draws)]
    )
    assert shares.mean() == pytest.approx(0.05, abs=4 * shares.std() / draws**0.5)
    low, high = chance_interval(generated, heldout)
    assert 0.94 < ((low <= shares) & (shares <= high)).mean() < 0.99
    assert (shares > high).mean() < 0.04


@pytest.mark.parametrize("heldout", [1, 5, 18])
def test_too_few_held_out_images_give_no_share_with_the_reason(heldout):
    far = np.ones(30, np.float32)
    scores, reasons = memorising_scores(Nearest(far, np.zeros(30, int), far[:heldout]))
    assert scores["memorised_share"] is None and scores["memorised_chance_high"] is None
    assert scores["closer_than_heldout"] == 0.5 and scores["images_heldout"] == heldout
    assert reasons == [f"needs 19 held-out images; there are {heldout}"]


def test_the_interval_for_fifty_thousand_images_is_that_of_their_share():
    low, high = chance_interval(50_000, 10_000)
    spread = (0.05 * 0.95 * (1 / 50_000 + 1 / 10_000)) ** 0.5
    assert (low, high) == pytest.approx((0.05 - 1.96 * spread, 0.05 + 1.96 * spread), abs=2e-4)


def test_copies_of_training_images_are_found_all():
    scores = scores_of(images(0, TRAIN)[::-1].copy())
    assert scores["closer_than_heldout"] == 1
    assert scores["memorised_share"] == 1
    assert scores["nearest_generated"] == 0


def test_a_share_of_near_copies_is_found():
    generated = images(2, GENERATED)
    copies = GENERATED * 3 // 10
    generated[:copies] = images(0, TRAIN)[:copies] + 0.01
    assert scores_of(generated)["memorised_share"] == pytest.approx(0.3 + 0.7 * 0.05, abs=0.02)


def test_images_far_from_all_others_are_not_memorised():
    scores = scores_of(images(2, GENERATED) + 50)
    assert scores["closer_than_heldout"] == 0
    assert scores["memorised_share"] == 0


@pytest.mark.parametrize("block_bytes", [2**24, 5000])
def test_the_nearest_training_image_is_its_row(monkeypatch, block_bytes):
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", block_bytes)
    train, generated = images(0, 40), images(2, 30)
    found = nearest_training_images(generated, train, None)
    apart = np.linalg.norm(generated[:, None] - train[None], axis=2)
    assert found.nearest_train.tolist() == apart.argmin(axis=1).tolist()
    assert found.generated_distance == pytest.approx(apart.min(axis=1), rel=1e-5)
    assert (found.generated_distance.dtype, found.nearest_train.dtype) == (np.float32, np.int64)


def test_a_copy_is_at_distance_zero_however_long_its_features():
    train = 1000 * images(0, 60)
    found = nearest_training_images(train[20:30], train, None)
    assert found.nearest_train.tolist() == list(range(20, 30))
    assert found.generated_distance.tolist() == [0] * 10


def test_ties_count_half():
    generated, heldout = np.float32([1, 2]), np.float32([1, 2, 3])
    wins = sum((g < h) + (g == h) / 2 for g in generated for h in heldout)
    assert closer_than_heldout(generated, heldout) == pytest.approx(wins / 6)
