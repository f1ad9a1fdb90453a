"""Numbers, counts, shares and scores as text for figures, notes and the terminal."""

import math

import pandas as pd

from ddpm_bench.records.scores import Metric

MINUS = "\N{MINUS SIGN}"
# Units per hour, the name of the unit, and the hours below which it is used.
TIME_UNITS = ((3600.0, "second", 0.05), (60.0, "minute", 2.0), (1.0, "hour", math.inf))


def number(value: float, digits: int = 4) -> str:
    """Return at most four significant digits with a true minus sign: 175.2, −0.00012, 2e−5.

    digits: significant digits to round to first. From 10,000 on, all digits are written.
    """
    if digits < 4:
        value = float(f"{value:.{digits}g}")
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return text.replace("e-0", "e-").replace("-", MINUS)


def whole_number(value: float) -> str:
    """Return a rounded number with separators, like 75,000."""
    return f"{value:,.0f}"


def counts(numbers: pd.Series) -> str:
    """Return counts of images, like 512, or 512 to 2,000 if they differ."""
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def shares(values: pd.Series) -> str:
    """Return shares, like 4.1%, or 4.1% to 6.3% if they differ."""
    low, high = f"{values.min():.1%}", f"{values.max():.1%}"
    return low if low == high else f"{low} to {high}"


def with_error(value: float, error: float) -> str:
    """Return a value like "0.0105 ± 0.0008", with two significant digits of its error."""
    if not error > 0:
        return number(value)
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}".replace("-", MINUS)


def with_deviation(value: float, deviation: float | None, metric: Metric) -> str:
    """Return a score with the metric's decimals, like "9.20 ± 0.21", or "9.20" if it has no
    deviation."""
    text = f"{value:.{metric.decimals}f}"
    return text if pd.isna(deviation) else f"{text} ± {deviation:.{metric.decimals}f}"


def value_text(row: pd.Series, metric: Metric) -> str:
    """Return a metric's value and standard deviation in a row of scores; "-" if it has none."""
    if pd.isna(row[metric.column]):
        return "-"
    return with_deviation(row[metric.column], row[metric.std] if metric.std else None, metric)


def time_unit(hours: float) -> tuple[float, str]:
    """Return the unit in which a time in hours is short: units per hour, and its name."""
    return next((factor, unit) for factor, unit, limit in TIME_UNITS if hours < limit)


def image_unit(images: float) -> tuple[int, str]:
    """Return the unit in which a number of images is short, and its words for an axis label."""
    if images >= 2_000_000:
        return 1_000_000, ", millions"
    if images >= 20_000:
        return 1_000, ", thousands"
    return 1, ""
