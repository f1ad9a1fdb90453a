"""The figure of the generated images closest to training images, with the distances of all images.

Distances of held-out images are drawn for comparison.
"""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ddpm_bench.errors import UserError
from ddpm_bench.images.sample_files import open_sample_file
from ddpm_bench.records.memorised_share import (
    CHANCE,
    FEWEST_HELD_OUT,
    chance_interval,
    close_distances,
    memorised_share,
)
from ddpm_bench.records.nearest import Nearest
from ddpm_bench.records.scores import feature_space_label
from ddpm_bench.report.figures.style import (
    COLOURS,
    NOTE_COLOUR,
    house_style,
    new_figure,
    write_in_axes,
)
from ddpm_bench.report.text import number

PAIRS = 12
PAIR_COLUMNS = 3
BINS = 30


def closest_title(path: Path) -> str:
    """Return a figure's title from <experiment>/scores/<score>/<set>/step-<step>.nearest.npz."""
    *_, experiment, _, score, samples, name = path.absolute().parts
    step = int(name.removeprefix("step-").partition(".")[0])
    return (
        f"{experiment}: {samples} at training step {step:,}, closest to training images ({score})"
    )


def closest_pairs(
    distances: Nearest, samples: list[Path], train: Path
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Return the generated images with the smallest distances, each with its nearest training
    image.

    Each pair is (generated, training, distance): two uint8 arrays [H, W, C] and a float; the
    closest first, of equal distances the earlier image. samples: the files of the set, in order;
    train: the prepared training images. Raises UserError if the files do not belong to these
    distances.
    """
    generated, trained = [open_sample_file(path) for path in samples], open_sample_file(train)
    there, scored = sum(map(len, generated)), len(distances.generated_distance)
    if there < scored:
        raise UserError(
            f"there are {there} samples, and {scored} were scored: give all files of the set"
        )
    if len(distances.generated_distance) and distances.nearest_train.max() >= len(trained):
        raise UserError(
            f"{train}: holds {len(trained)} images, and a sample is nearest to number "
            f"{distances.nearest_train.max()}; score the samples again"
        )
    order = np.argsort(distances.generated_distance, kind="stable")[:PAIRS]
    return [
        (
            image_at(generated, index),
            np.asarray(trained[distances.nearest_train[index]]),
            float(distances.generated_distance[index]),
        )
        for index in order
    ]


def image_at(arrays: list[np.ndarray], index: int) -> np.ndarray:
    """Return image `index` of several arrays as if they were concatenated. Raises IndexError."""
    for array in arrays:
        if index < len(array):
            return np.asarray(array[index])
        index -= len(array)
    raise IndexError(index)


def closest_figure(
    distances: Nearest,
    pairs: list[tuple[np.ndarray, np.ndarray, float]],
    feature_space: str,
    title: str,
) -> Figure:
    """Draw the distributions of both distances (left) and the closest pairs (right)."""
    with house_style():
        figure = new_figure(title, 18, 9)
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25), wspace=0.03)
        axes = left.subplots()
        if len(distances.generated_distance):
            draw_distributions(axes, distances)
            axes.set(
                xlabel=f"distance to the nearest training image\n"
                f"({feature_space_label(feature_space)})",
                ylabel="share of the images",
            )
            if pairs:
                draw_pairs(right, pairs)
        else:
            write_in_axes(axes, "No distances to training images were measured with this score.")
    return figure


def draw_distributions(axes: Axes, distances: Nearest) -> None:
    """Draw histograms of equal area, and a line that the closest 5% of held-out distances give."""
    kinds = {
        "generated": distances.generated_distance,
        "held out of training": distances.heldout_distance,
    }
    kinds = {f"{name} ({len(kind):,})": kind for name, kind in kinds.items() if len(kind)}
    rows = pd.concat(
        [pd.DataFrame({"distance": kind, "images": name}) for name, kind in kinds.items()],
        ignore_index=True,
    )
    sns.histplot(
        rows, x="distance", hue="images", stat="proportion", common_norm=False, bins=BINS,
        element="step", alpha=0.3, linewidth=2, palette=COLOURS[: len(kinds)], ax=axes,
    )  # fmt: skip
    axes.set_xlim(left=0)
    sns.move_legend(axes, "lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, title=None)
    if len(distances.heldout_distance) >= FEWEST_HELD_OUT:
        first, second, weight = close_distances(distances.heldout_distance)
        close = (1 - weight) * first + weight * second
        axes.axvline(close, color="0.25", linewidth=1.8, linestyle=(0, (5, 3)))
    note = "\n".join(textwrap.wrap(note_on_share(distances), 62))
    axes.annotate(
        note, (0, 0), xytext=(0, -86), xycoords="axes fraction",
        textcoords="offset points", va="top", fontsize=13.5, color=NOTE_COLOUR,
        annotation_clip=False,
    )  # fmt: skip


def note_on_share(distances: Nearest) -> str:
    """Return a sentence on the share of generated images that are as close as few held-out ones."""
    generated, heldout = distances.generated_distance, distances.heldout_distance
    if not len(heldout):
        return "Nothing is held out of training, so there are no distances to compare with."
    if len(heldout) < FEWEST_HELD_OUT:
        return (
            f"Only {len(heldout)} images are held out of training: from {FEWEST_HELD_OUT} on, a "
            "line shows the distance below which few images lie by chance."
        )
    low, high = chance_interval(len(generated), len(heldout))
    return (
        f"{memorised_share(generated, heldout):.1%} of the generated images are left of the line, "
        f"closer than 95% of held-out ones. Without memorising {CHANCE:.0%} are expected, and "
        f"{low:.1%} to {high:.1%} in 95 of 100 cases; more is a sign of it."
    )


def draw_pairs(figure: SubFigure, pairs: list[tuple[np.ndarray, np.ndarray, float]]) -> None:
    """Draw each pair as one picture, the generated image on the left, the distance below."""
    figure.suptitle(
        f"The {len(pairs)} closest: generated | nearest training image, and their distance",
        fontsize=15,
    )
    rows = -(-len(pairs) // PAIR_COLUMNS)
    grid = list(figure.subplots(rows, PAIR_COLUMNS, squeeze=False).flat)
    for axes in grid[len(pairs) :]:
        axes.set_axis_off()
    for axes, (generated, trained, distance) in zip(grid, pairs, strict=False):
        gap = np.full((len(generated), max(1, generated.shape[1] // 16), 3), 255, np.uint8)
        colour = [image.repeat(3 // image.shape[2], axis=2) for image in (generated, trained)]
        axes.imshow(np.concatenate([colour[0], gap, colour[1]], axis=1), interpolation="nearest")
        axes.set_xlabel(number(distance), fontsize=14)
        axes.set(xticks=[], yticks=[], frame_on=False)
