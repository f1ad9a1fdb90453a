"""All scores of a set of samples: present ones, and the reasons for missing ones."""

import numpy as np
import pytest

from ddpm_bench.config.scoring import ScoreSettings
from ddpm_bench.errors import UserError
from ddpm_bench.scoring.features.references import Reference, feature_statistics
from ddpm_bench.scoring.metrics.all_metrics import SCORE_NAMES, References, measure

FRECHET = {"fid", "fid_std"}
KERNEL = {"kid_mean", "kid_std", "kid_subset_size"}
INCEPTION = {"is_mean", "is_std"}
MANIFOLDS = {"precision", "recall"}
DENSITY = {"density", "coverage"}
MEMORISING = {
    *("nearest_generated", "nearest_heldout", "closer_than_heldout", "images_heldout"),
    *("memorised_share", "memorised_chance_low", "memorised_chance_high"),
}


def points(seed: int, count: int, spread: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, (count, 8)).astype(np.float32)


def reference_of(features: np.ndarray) -> Reference:
    return Reference(features, *feature_statistics(features), weights_sha256="a" * 64)


def published(features: np.ndarray) -> Reference:
    return Reference(None, *feature_statistics(features), weights_sha256=None)


def scores_of(generated, real, **keys):
    """Score against one reference of training images, with as many images held out."""
    logits = points(5, len(generated), 2.0)
    reference = reference_of(real)
    against = References(reference, reference, real, points(6, 30, 1.0))
    measured = measure(generated, logits, against, ScoreSettings(**keys))
    return measured.scores, measured.warnings


def test_every_score_is_measured_where_there_is_all_that_it_needs():
    scores, warnings = scores_of(points(0, 200, 1.0), points(1, 300, 1.0))
    assert set(scores) == {*SCORE_NAMES}
    assert {name for name, value in scores.items() if value is None} == {"kid_subset_size"}
    assert warnings == []


# What a score is of


def missing_scores(logits=True, reference=reference_of, fid=reference_of, train=True, heldout=True):
    """Return the names of scores that are None, and the warnings, if some sides are missing."""
    real = points(1, 200, 1.0)
    measured = measure(
        points(0, 50, 1.0),
        points(5, 50, 2.0) if logits else None,
        References(
            reference(real),
            fid(real),
            points(2, 60, 1.0) if train else None,
            points(3, 20, 1.0) if heldout else None,
        ),
        ScoreSettings(kid_subset_size=20),
    )
    return {name for name, value in measured.scores.items() if value is None}, measured


def test_without_logits_there_is_no_is_and_no_warning():
    missing, measured = missing_scores(logits=False)
    assert missing == INCEPTION and measured.warnings == []


def test_published_statistics_as_the_reference_give_fid_alone():
    missing, measured = missing_scores(reference=published, fid=published)
    assert missing == {*KERNEL, *MANIFOLDS, *DENSITY} and measured.warnings == []


def test_published_statistics_of_fid_leave_the_other_scores_as_they_are():
    missing, measured = missing_scores(fid=published)
    assert missing == set() and measured.warnings == []


def test_without_held_out_images_only_the_distance_to_training_images_stands():
    missing, measured = missing_scores(heldout=False)
    assert missing == MEMORISING - {"nearest_generated", "images_heldout"}
    assert measured.scores["images_heldout"] == 0
    assert len(measured.nearest.heldout_distance) == 0


def test_without_training_images_there_are_no_distances_to_them():
    missing, measured = missing_scores(train=False)
    assert missing == MEMORISING and measured.nearest is None


def test_fid_is_of_the_second_pass_and_the_rest_of_the_first():
    first, second = points(0, 50, 1.0), points(1, 50, 3.0)
    real, real_second = reference_of(points(2, 60, 1.0)), reference_of(points(3, 60, 3.0))
    measuring = ScoreSettings(fid_backend="pytorch-fid")
    both = measure(first, None, References(real, real_second, None, None), measuring, second).scores
    alone = measure(
        second, None, References(real_second, real_second, None, None), measuring
    ).scores
    plain = measure(first, None, References(real, real, None, None), ScoreSettings()).scores
    assert (both["fid"], both["fid_std"]) == (alone["fid"], alone["fid_std"])
    assert both["kid_mean"] == plain["kid_mean"] and both["density"] == plain["density"]
    assert both["fid"] != plain["fid"]


# Few images, and scores that cannot be had


@pytest.mark.parametrize("generated", [30, 1100])
def test_kid_is_over_all_pairs_of_images_unless_a_subset_size_is_given(generated):
    sides = points(0, generated, 1.0), points(1, generated, 1.0)
    scores, _ = scores_of(*sides)
    assert scores["kid_subset_size"] is None
    # Subsets of all images are one and the same: their deviation says nothing.
    subsets, _ = scores_of(*sides, kid_subset_size=generated, kid_subsets=3)
    assert subsets["kid_mean"] == pytest.approx(scores["kid_mean"], abs=1e-4)
    assert subsets["kid_std"] < 0.02 * scores["kid_std"]


@pytest.mark.parametrize(("size", "warns"), [(15, False), (16, True), (30, True)])
def test_kid_subsets_of_more_than_half_of_a_side_have_a_warning(size, warns):
    scores, warnings = scores_of(points(0, 40, 1.0), points(1, 30, 1.0), kid_subset_size=size)
    said = f"kid_subset_size = {size} is more than half of the 30 images of the smaller side"
    assert (said in "; ".join(warnings)) == warns
    assert scores["kid_subset_size"] == size


def test_a_kid_subset_larger_than_either_side_names_the_largest_that_fits():
    with pytest.raises(UserError, match=r"kid_subset_size = 31 .* set it to 30"):
        scores_of(points(0, 40, 1.0), points(1, 30, 1.0), kid_subset_size=31)


@pytest.mark.parametrize(
    ("generated", "missing"),
    [
        (1, {*FRECHET, *KERNEL, *INCEPTION, *MANIFOLDS}),
        (2, {"kid_std", *INCEPTION, *MANIFOLDS}),
        (3, {"kid_std", *INCEPTION, *MANIFOLDS}),
        (4, INCEPTION),
        (9, INCEPTION),
        (10, set()),
    ],
)
def test_few_samples_give_nulls_with_a_reason_and_never_a_crash(generated, missing):
    scores, warnings = scores_of(points(0, generated, 1.0), points(1, 30, 1.0))
    nulls = {name for name, value in scores.items() if value is None}
    assert nulls - {"kid_subset_size"} == missing - {"kid_subset_size"}
    assert all(word in "; ".join(warnings) for word in _words_of(missing))


def _words_of(missing):
    words = {
        "fid": "FID: needs 2",
        "kid_mean": "KID: needs 2",
        "kid_std": "needs",
        "is_mean": "IS: its 10 parts",
        "recall": "prc_neighborhood",
    }
    return [word for name, word in words.items() if name in missing]


def test_a_reference_smaller_than_a_neighbourhood_has_no_density():
    scores, warnings = scores_of(points(0, 40, 1.0), points(1, 5, 1.0))
    assert (scores["density"], scores["coverage"]) == (None, None)
    assert scores["precision"] is not None
    assert any(
        "density, coverage: need more than density_neighborhood = 5" in warning
        for warning in warnings
    )


BROKEN = points(0, 40, 1.0)
BROKEN[3, 2] = np.nan


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"generated": BROKEN}, "samples"),
        ({"logits": BROKEN}, "samples"),
        ({"fid_generated": BROKEN}, "samples"),
        ({"reference": BROKEN}, "reference"),
        ({"train": BROKEN}, "training images"),
        ({"heldout": BROKEN}, "held-out images"),
    ],
)
def test_features_that_are_not_finite_are_refused_with_their_side(given, named):
    whole = {name: points(1, 40, 1.0) for name in ("generated", "reference", "train", "heldout")}
    sides = whole | given
    reference = reference_of(sides["reference"])
    against = References(reference, reference, sides["train"], sides["heldout"])
    with pytest.raises(UserError, match=f"features of the {named} are not finite: "):
        measure(
            sides["generated"],
            given.get("logits"),
            against,
            ScoreSettings(),
            given.get("fid_generated"),
        )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_score_that_overflows_is_null_and_the_others_stand():
    scores, warnings = scores_of(points(0, 40, 1e20), points(1, 30, 1e20))
    assert scores["kid_mean"] is None and scores["fid"] > 0
    assert any("KID: kid_mean is left out" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("generated", "real", "said"),
    [
        (20, 7, "the reference has 7 images for 8 dimensions"),
        (7, 20, "the set of samples has 7 images for 8 dimensions"),
        (20, 20, ""),
    ],
)
def test_a_side_of_fewer_images_than_dimensions_warns_of_a_biased_fid(generated, real, said):
    _, warnings = scores_of(points(0, generated, 1.0), points(1, real, 1.0), isc_splits=2)
    of_fid = [warning for warning in warnings if warning.startswith("FID: ")]
    assert of_fid == ([f"FID: {said}: it is biased upwards, read KID"] if said else [])


def test_few_reference_images_have_a_warning_where_noise_scores_well():
    few = "images noise, too, may score well; take 200 or more"
    _, warnings = scores_of(points(0, 250, 1.0), points(1, 199, 1.0))
    assert warnings == [
        f"precision, recall: against 199 {few}",
        f"density, coverage: against 199 {few}",
    ]
    _, warnings = scores_of(points(0, 40, 1.0), points(1, 200, 1.0), density_neighborhood=6)
    assert warnings == [
        "density, coverage: against 200 images noise, too, may score well; take 240 or more"
    ]


def test_images_that_occur_more_than_k_times_have_a_warning():
    generated, real = points(0, 240, 1.0), np.repeat(points(1, 40, 1.0), 6, axis=0)
    scores, warnings = scores_of(generated, real)
    assert max(scores["precision"], scores["density"], scores["coverage"]) < 0.2
    said = (
        "100% of the reference images occur more than {} times, which leaves them no "
        "neighbourhood: too low"
    )
    assert warnings == [
        f"precision, recall: {said.format(3)}",
        f"density, coverage: {said.format(5)}",
    ]
    _, warnings = scores_of(np.repeat(generated[:60], 4, axis=0), points(1, 240, 1.0))
    assert [warning.partition(" occur")[0] for warning in warnings] == [
        "precision, recall: 100% of the generated images"
    ]


def test_few_held_out_images_are_the_reason_of_a_missing_share():
    against = reference_of(points(1, 200, 1.0))
    sides = References(against, against, points(1, 200, 1.0), points(6, 5, 1.0))
    measured = measure(points(0, 200, 1.0), None, sides, ScoreSettings())
    assert measured.scores["memorised_share"] is None
    assert measured.warnings == ["memorised share: needs 19 held-out images; there are 5"]
