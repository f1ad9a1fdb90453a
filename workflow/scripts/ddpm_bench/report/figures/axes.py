"""Scales of axes: training steps, hours of training, and logarithmic axes with plain numbers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import Locator, LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from ddpm_bench.report.text import number, whole_number

WIDE_RATIO = 20  # largest over smallest value from which an axis is logarithmic
FALLING_RATIO = 8  # highest over median loss from which an axis is logarithmic
ROUND_STEPS = [1, 2, 2.5, 5, 10]  # between ticks, times a power of ten


@dataclass(frozen=True)
class HorizontalAxis:
    """The horizontal axis of a panel: a column of its rows."""

    column: str
    label: str
    unit: str  # of one value in words, as in "at 1.3 GPU-hours"; empty for steps

    def at(self, value: float) -> str:
        """Return a position in words, like "step 900" or "1.3 GPU-hours"."""
        return f"{number(value)} {self.unit}" if self.unit else f"step {int(value):,}"

    def scale(self, axes: Axes, values: pd.Series) -> None:
        """Scale the axis for these values."""
        if self.unit:
            scale_hours(axes, values)
        else:
            scale_steps(axes, values)


STEPS = HorizontalAxis("training_step", "training steps", "")


def scale_steps(axes: Axes, steps: pd.Series) -> None:
    """Scale an axis from step 0 to a little after the last checkpoint; labels like 75,000."""
    shown, last = np.unique([0, *steps]), int(steps.max())
    axes.set_xlim(0, 1.05 * last)
    if len(shown) <= 7 and np.diff(shown).min() > 0.1 * last:
        axes.set_xticks(shown)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=ROUND_STEPS, integer=True))
    label_plainly(axes.xaxis, whole=True)


def scale_hours(axes: Axes, hours: pd.Series) -> None:
    """Scale an axis from 0 to a little after the last checkpoint."""
    axes.set_xlim(0, 1.05 * hours.max())
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=ROUND_STEPS))
    label_plainly(axes.xaxis)


def label_plainly(axis: Axis, whole: bool = False) -> None:
    """Label the ticks of an axis with plain numbers, without powers of ten; whole: rounded ones."""
    text = whole_number if whole else number
    axis.set_major_formatter(lambda value, _: text(value))


def is_wide(lowest: float, highest: float, ratio: float = WIDE_RATIO) -> bool:
    """Return True if positive values span a range that calls for a logarithmic axis."""
    return lowest > 0 and highest / lowest >= ratio


def make_logarithmic(axis: Axis, locator: Locator | None = None) -> None:
    """Make an axis logarithmic, with plain numbers; without a locator at 1, 2 and 5 per decade."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(locator or LogLocator(subs=(1, 2, 5)))
    axis.set_minor_formatter(NullFormatter())
    label_plainly(axis)


def scale_losses(axes: Axes, losses: pd.Series, ratio: float = FALLING_RATIO) -> None:
    """Label an axis of losses, and make it logarithmic if they fall far.

    ratio: highest over median loss from which it is logarithmic.
    """
    if losses.min() > 0 and losses.max() / losses.median() > ratio:
        make_logarithmic(axes.yaxis)
        axes.set_ylabel("loss, log axis")
    else:
        label_plainly(axes.yaxis)
        axes.set_ylabel("loss")


class PlainNumbers(ScalarFormatter):
    """Tick labels with equal decimals and without powers of ten; none below `floor`.

    FID is never negative, KID may be: no value is written on room below a curve that it cannot
    reach.
    """

    def __init__(self, floor: float) -> None:
        super().__init__(useOffset=False)
        self.set_scientific(False)
        self.floor = floor

    def __call__(self, x: float, pos: int | None = None) -> str:
        return "" if x < self.floor else super().__call__(x, pos)
