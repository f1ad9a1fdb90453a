"""Sizes, colours and fonts of all figures, and functions to write them."""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpm_bench.files import replacing

matplotlib.use("Agg")

DPI = 150
PANEL_WIDTH, PANEL_HEIGHT = 13.0, 5.6  # inches; the legend stands within the width
COLOURS = sns.color_palette("colorblind", 10)
NOTE_COLOUR = "#8a3b00"
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
DASHES = ["", (4, 2), (1.5, 1.5), (6, 2, 1.5, 2), (8, 3)]  # "": a solid line


class CurveStyle(NamedTuple):
    """Colour, marker and dashes of a curve."""

    colour: Any
    marker: str | None
    dashes: str | tuple[float, ...]


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


def new_figure(title: str, width: float, height: float, **layout: float) -> Figure:
    """Return a figure of a size in inches with a title; layout: padding of its panels."""
    figure = Figure((width, height), layout="constrained")
    figure.get_layout_engine().set(**{"w_pad": 0.15, "h_pad": 0.15, **layout})
    figure.suptitle(title, fontsize=21, fontweight="bold")
    return figure


def write_title(axes: Axes, title: str, subtitle: str) -> None:
    """Write title and subtitle above a panel."""
    axes.set_title("\n".join(textwrap.wrap(title, 80)), loc="left", pad=34)
    axes.annotate(
        subtitle, (0, 1), xytext=(0, 11), xycoords="axes fraction", textcoords="offset points",
        fontsize=13, color="0.25",
    )  # fmt: skip


def write_legend(axes: Axes, handles: Sequence[Artist], **options: Any) -> None:
    """Write a legend to the right of a panel."""
    axes.legend(
        handles=handles,
        **{
            "loc": "upper left", "bbox_to_anchor": (1.01, 1.02), "frameon": False, "fontsize": 13,
            **options,
        },
    )  # fmt: skip


def write_in_axes(axes: Axes, text: str) -> None:
    """Write a sentence in place of curves."""
    axes.set(xticks=[], yticks=[])
    axes.text(
        0.5, 0.5, "\n".join(textwrap.wrap(text, 60)), ha="center", va="center",
        transform=axes.transAxes, fontsize=16, color="0.3",
    )  # fmt: skip


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
        figure = new_figure(title, PANEL_WIDTH, 4, w_pad=0.3, h_pad=0.3)
        write_in_axes(figure.subplots(), text)
    return figure
