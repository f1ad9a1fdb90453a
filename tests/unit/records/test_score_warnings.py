"""Warnings stand where they apply."""

from ddpm_bench.records.score_warnings import SEPARATOR, about, parts, warnings_about

SPACE = "weights mine are not the published Inception's; compare with no paper"
FID = about(["fid"], "the reference has 7 images; there: read KID")
BOTH = about(["precision", "recall"], "need more images; there are 3")
WARNING = SEPARATOR.join([SPACE, FID, BOTH])


def test_parts_begin_with_the_names_of_their_metrics():
    assert parts(WARNING) == [SPACE, FID, BOTH]
    assert parts("") == []


def test_a_metric_has_its_own_warnings_and_those_about_all():
    assert warnings_about([WARNING], ["fid"]) == [SPACE, FID]
    assert warnings_about([WARNING], ["recall"]) == [SPACE, BOTH]
    assert warnings_about([WARNING], ["kid_mean"]) == [SPACE]
    assert warnings_about([WARNING], ["closer_than_heldout"]) == [SPACE]


def test_a_part_that_several_checkpoints_have_stands_once():
    assert warnings_about([WARNING, "", FID, WARNING]) == [SPACE, FID, BOTH]
