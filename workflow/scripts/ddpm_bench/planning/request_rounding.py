"""Rounding of the memory and time that jobs ask for."""

import math

ROUND_MB, ROUND_MINUTES = 100, 5


def rounded_mb(megabytes: float, attempt: int) -> int:
    """Return megabytes rounded up to a multiple of 100, times the number of the attempt."""
    return math.ceil(megabytes / ROUND_MB) * ROUND_MB * attempt


def rounded_minutes(minutes: float) -> int:
    """Return minutes rounded up to a multiple of 5."""
    return math.ceil(minutes / ROUND_MINUTES) * ROUND_MINUTES
