"""The loss curve of a training."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .figures import COLOURS, PANEL_WIDTH, empty_figure, house_style, number, scale_steps
from .program import UserError

COLUMNS = ["step", "images_seen", "loss", "learning_rate"]
SMOOTHED_SHARE, MOST_SMOOTHED = 25, 50  # a mean over a 25th of the rows, at most over 50
LOG_FROM_RATIO = 8  # highest over median loss from which the axis is logarithmic


def read_losses(path: Path) -> pd.DataFrame:
    """Read metrics.csv of a training, which may be going on: a half-written last line is left out.

    Raises UserError when the file has not the columns of one.
    """
    try:
        complete, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
        losses = pd.read_csv(io.StringIO(complete))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a training's metrics ({error})") from None
    lacking = [name for name in COLUMNS if name not in losses.columns]
    if lacking:
        raise UserError(
            f"{path}: lacks the columns {', '.join(lacking)}; give the metrics.csv of a training"
        )
    return losses[COLUMNS].apply(pd.to_numeric, errors="coerce").astype("float64")


def loss_figure(losses: pd.DataFrame, title: str) -> Figure:
    """Loss against training steps: each row a faint point, the running mean a line."""
    rows = losses[np.isfinite(losses["loss"])].sort_values("step")
    if rows.empty:
        return empty_figure(title, "No loss has been recorded yet.")
    window = min(max(1, len(rows) // SMOOTHED_SHARE), MOST_SMOOTHED)
    smooth = rows["loss"].rolling(window, center=True, min_periods=1).mean()
    with house_style():
        figure = Figure((PANEL_WIDTH, 6.4), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)
        figure.suptitle(title, fontsize=21, fontweight="bold")
        axes = figure.subplots()
        size, alpha = (8, 0.15) if len(rows) > 1000 else (24, 0.4) if len(rows) > 20 else (70, 0.9)
        recorded = f"mean of {steps_per_row(rows):,} steps"
        sns.scatterplot(
            x=rows["step"], y=rows["loss"], color=COLOURS[0], alpha=alpha,
            s=size, linewidth=0, label=recorded, ax=axes,
        )  # fmt: skip
        if window > 1:
            name = f"mean of {window * steps_per_row(rows):,} steps"
            sns.lineplot(
                x=rows["step"], y=smooth, color=COLOURS[3], linewidth=2.5, label=name, ax=axes
            )
        axes.set(xlabel="training steps", ylabel="training loss")
        scale_losses(axes, rows["loss"])
        scale_steps(axes, rows["step"])
        add_images_seen(axes, rows)
        legend = axes.legend(loc="upper right")
        legend.legend_handles[0].set(alpha=0.8, sizes=[30])
    return figure


def steps_per_row(rows: pd.DataFrame) -> int:
    """Training steps whose mean loss a row holds."""
    return int(np.median(np.diff(rows["step"], prepend=0)))


def scale_losses(axes: Axes, losses: pd.Series) -> None:
    """A logarithmic axis where the loss falls far."""
    if losses.min() > 0 and losses.max() / losses.median() > LOG_FROM_RATIO:
        axes.set_yscale("log")
        axes.set_ylabel("training loss (logarithmic axis)")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def add_images_seen(axes: Axes, rows: pd.DataFrame) -> None:
    """A second scale of images seen, where the batch never changed and so both scales agree."""
    per_step = rows["images_seen"] / rows["step"]
    if not np.isfinite(per_step).all() or per_step.max() > per_step.min() * (1 + 1e-9):
        return
    batch = float(per_step.iloc[0])
    unit, name = image_unit(batch * rows["step"].max())
    factor = batch / unit
    above = axes.secondary_xaxis("top", functions=(lambda x: x * factor, lambda x: x / factor))
    above.set_xlabel(f"images seen{name} (batch {batch:,.0f})", labelpad=8)
    above.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    above.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def image_unit(images: float) -> tuple[int, str]:
    """The unit in which a number of images is short, and how the axis names it."""
    if images >= 2_000_000:
        return 1_000_000, ", millions"
    if images >= 20_000:
        return 1_000, ", thousands"
    return 1, ""
