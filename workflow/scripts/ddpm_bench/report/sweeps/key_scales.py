"""Scales of a sweep's keys along an axis: numbers, or categories in order."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator

from ddpm_bench.report.figures.axes import is_wide
from ddpm_bench.report.text import number

MOST_TICKS = 8  # values with a tick each; for more numbers the axis has round ticks


@dataclass(frozen=True)
class KeyScale:
    """The scale of a swept key on an axis from 0 to 1.

    texts: its values as they stand in the sweep's table, in order. low, high: the ends of a numeric
    scale.
    """

    texts: tuple[str, ...]
    numeric: bool
    logarithmic: bool
    low: float = 0.0
    high: float = 1.0

    def place(self, text: str) -> float:
        """Return the position of a value, 0 to 1."""
        if not self.numeric:
            return _share(self.texts.index(text), len(self.texts))
        return self._place_number(float(text))

    def _place_number(self, value: float) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = np.log(value), np.log(low), np.log(high)
        return float((value - low) / (high - low))

    def ticks(self) -> list[tuple[float, str]]:
        """Return positions and labels of ticks."""
        if not self.numeric or len(self.texts) <= MOST_TICKS:
            return [(self.place(text), shown(text)) for text in self.texts]
        if self.logarithmic:
            decades = np.log10(self.high / self.low)
            subs = (1,) if decades > 3 else (1, 3) if decades > 1.5 else (1, 2, 5)
            values = LogLocator(subs=subs).tick_values(self.low, self.high)
        else:
            values = MaxNLocator(5).tick_values(self.low, self.high)
        return [
            (self._place_number(value), number(value))
            for value in values
            if self.low <= value <= self.high
        ]

    @property
    def continuous(self) -> bool:
        """True if there are too many values for a tick each."""
        return self.numeric and len(self.texts) > MOST_TICKS


def key_scale(values: Iterable[str]) -> KeyScale:
    """Return the scale of a key with these values.

    Numbers over a wide range, or evenly spaced in their logarithms, get a logarithmic scale; a few
    numbers that lie too close for their labels are categories in their order.
    """
    texts = sorted(set(values), key=_order)
    numbers = [found for text in texts if (found := as_number(text)) is not None]
    if len(numbers) < len(texts) or len(numbers) < 2:
        return KeyScale(tuple(texts), numeric=False, logarithmic=False)
    low, high = min(numbers), max(numbers)
    logarithmic = low > 0 and (is_wide(low, high) or _evenly_spread(np.log(numbers)))
    if len(texts) <= MOST_TICKS:
        # The labels of values that are too close would overlap.
        places = np.log(numbers) if logarithmic else np.array(numbers)
        if np.diff(places).min() < 0.08 * (places[-1] - places[0]):
            return KeyScale(tuple(texts), numeric=False, logarithmic=False)
    return KeyScale(tuple(texts), True, logarithmic, low, high)


def as_number(text: str) -> float | None:
    """Return the number that a text holds; None for a text, a list, null, true or false."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def shown(text: str) -> str:
    """Return a value as a label."""
    value = as_number(text)
    return text if value is None else number(value)


def _order(text: str) -> tuple[int, float, str]:
    value = as_number(text)
    return (1, 0.0, text) if value is None else (0, value, text)


def _evenly_spread(places: np.ndarray) -> bool:
    """Return True if three or more values have equal distances, like the logarithms of 1, 2, 4."""
    steps = np.diff(places)
    return len(steps) > 1 and bool(np.allclose(steps, steps[0], rtol=0.02))


def _share(index: int, count: int) -> float:
    return 0.5 if count == 1 else index / (count - 1)
