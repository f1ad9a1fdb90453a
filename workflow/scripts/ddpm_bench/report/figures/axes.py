"""What scores and losses are drawn against: training steps, or hours of training."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ddpm_bench.report.figures.style import number


@dataclass(frozen=True)
class HorizontalAxis:
    """The horizontal axis of a panel: a column of its rows."""

    column: str
    label: str
    unit: str  # of one value in words, as in "at 1.3 GPU-hours"; empty for steps

    def at(self, value: float) -> str:
        """As "step 900" or "1.3 GPU-hours"."""
        return f"{number(value)} {self.unit}" if self.unit else f"step {int(value):,}"

    def scale(self, axes: Axes, values: pd.Series) -> None:
        if self.unit:
            scale_hours(axes, values)
        else:
            scale_steps(axes, values)


STEPS = HorizontalAxis("training_step", "training steps", "")


def scale_steps(axes: Axes, steps: pd.Series) -> None:
    """From the start of training to a little after the last checkpoint; steps as 75,000."""
    shown, last = np.unique([0, *steps]), int(steps.max())
    axes.set_xlim(0, 1.05 * last)
    if len(shown) <= 7 and np.diff(shown).min() > 0.1 * last:
        axes.set_xticks(shown)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def scale_hours(axes: Axes, hours: pd.Series) -> None:
    """From the start of training to a little after the last checkpoint; plain numbers."""
    axes.set_xlim(0, 1.05 * hours.max())
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
