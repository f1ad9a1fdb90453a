"""Sizes, colours and fonts of all figures, and functions to write them."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpm_bench.files import replacing

matplotlib.use("Agg")

DPI = 150
PANEL_WIDTH, PANEL_HEIGHT = 13.0, 5.6  # inches; the legend stands within the width
COLOURS = sns.color_palette("colorblind", 10)
NOTE_COLOUR = "#8a3b00"


@contextmanager
def house_style() -> Iterator[None]:
    """Apply large fonts on a light grid, independent of the user's matplotlib settings."""
    own = {key: value for key, value in matplotlib.rcParamsDefault.items() if "backend" not in key}
    with matplotlib.rc_context(own):
        sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", font_scale=1.35)
        matplotlib.rcParams.update({"font.family": "DejaVu Sans", "axes.titleweight": "bold"})
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, atomically, without program name or time: equal figures are equal bytes."""
    with house_style(), replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})


def say_in_axes(axes: Axes, text: str) -> None:
    """A sentence in place of curves."""
    axes.set(xticks=[], yticks=[])
    wrapped = "\n".join(textwrap.wrap(text, 60))
    axes.text(
        0.5,
        0.5,
        wrapped,
        ha="center",
        va="center",
        transform=axes.transAxes,
        fontsize=16,
        color="0.3",
    )


def write_notes(axes: Axes, texts: list[str]) -> None:
    """Write notes under a panel; the layout makes room for them."""
    lines = [line for text in texts for line in textwrap.wrap(text, 105)]
    axes.annotate(
        "\n".join(lines), (0, 0), xytext=(0, -62), xycoords="axes fraction",
        textcoords="offset points", va="top", fontsize=12.5, color=NOTE_COLOUR,
        annotation_clip=False,
    )  # fmt: skip


def empty_figure(title: str, text: str) -> Figure:
    """Return a figure with a sentence in place of curves, such as why there are none."""
    with house_style():
        figure = Figure((PANEL_WIDTH, 4), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.3, h_pad=0.3)
        figure.suptitle(title, fontsize=21, fontweight="bold")
        say_in_axes(figure.subplots(), text)
    return figure


def number(value: float) -> str:
    """Four significant digits with a true minus sign: 175.2, 7.612, −0.00012."""
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")
