"""Numbers as text, and the axes that are labelled with them."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from ddpm_bench.records.scores import METRICS
from ddpm_bench.report import text
from ddpm_bench.report.figures.axes import is_wide, make_logarithmic, scale_losses


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (175.24, "175.2"), (7.6123, "7.612"), (-0.00012, f"{text.MINUS}0.00012"), (0.0, "0"),
        (20_291.4, "20,291"), (7_622_956.4, "7,622,956"), (0.00002, f"2e{text.MINUS}5"),
    ],
)  # fmt: skip
def test_numbers_have_four_digits_and_a_true_minus_sign(value, expected):
    assert text.number(value) == expected


def test_fewer_digits_are_rounded_first():
    assert text.number(2.16667, 3) == "2.17"
    assert text.number(12_345.0, 3) == "12,300"


def test_errors_have_two_digits_and_values_as_many_decimals():
    assert text.with_error(0.01052, 0.00081) == "0.01052 ± 0.00081"
    assert text.with_error(-12.34, 3.2) == f"{text.MINUS}12.3 ± 3.2"
    assert text.with_error(12.34, float("nan")) == "12.34"


def test_scores_have_their_metrics_decimals_and_a_deviation_if_there_is_one():
    fid = METRICS["fid"]
    assert text.with_deviation(9.2, 0.21, fid) == "9.20 ± 0.21"
    assert text.with_deviation(9.2, None, fid) == "9.20"
    assert text.value_text(pd.Series({"fid": None, "fid_std": None}), fid) == "-"


def test_equal_counts_and_shares_are_written_once():
    assert text.counts(pd.Series([512, 512])) == "512"
    assert text.counts(pd.Series([512, 2000])) == "512 to 2,000"
    assert text.shares(pd.Series([0.041, 0.063])) == "4.1% to 6.3%"


@pytest.mark.parametrize(
    ("hours", "unit"), [(0.01, "second"), (0.05, "minute"), (1.9, "minute"), (2.0, "hour")]
)
def test_short_times_are_in_minutes_or_seconds(hours, unit):
    assert text.time_unit(hours)[1] == unit


def test_large_numbers_of_images_are_in_thousands_or_millions():
    assert [text.image_unit(count)[0] for count in (19_999, 20_000, 2e6)] == [1, 1000, 1_000_000]


def test_a_logarithmic_axis_has_plain_numbers_on_either_side():
    axes = Figure().subplots()
    make_logarithmic(axes.xaxis)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert axes.xaxis.get_major_formatter()(0.05, 0) == "0.05"
    assert axes.xaxis.get_minor_formatter()(0.03, 0) == ""


def test_only_wide_positive_ranges_and_falling_losses_are_logarithmic():
    assert is_wide(1, 20) and not is_wide(1, 19) and not is_wide(-1, 200)
    axes = Figure().subplots()
    scale_losses(axes, pd.Series([1.0, 0.5, 0.3]))
    assert (axes.get_yscale(), axes.get_ylabel()) == ("linear", "loss")
    scale_losses(axes, pd.Series([1.0, 0.1, 0.1]))
    assert (axes.get_yscale(), axes.get_ylabel()) == ("log", "loss, log axis")
