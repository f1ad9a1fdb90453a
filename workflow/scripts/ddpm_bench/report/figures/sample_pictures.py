"""Pictures of samples: a checkpoint's grid, and all checkpoints side by side."""

import io
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ddpm_bench.errors import UserError
from ddpm_bench.files import replacing
from ddpm_bench.images.grid import image_grid, spread
from ddpm_bench.images.sample_files import open_sample_file
from ddpm_bench.records.failures import RecordedFailure, failure_of_samples
from ddpm_bench.report.figures.style import DPI, empty_figure, house_style, save_figure

MOST_CHECKPOINTS = 12  # columns of samples_over_training
ROWS = 8  # images of each checkpoint in it
SHOWN_SIDE = 120  # pixels, at least: small images are enlarged by a whole factor
GAP = 4  # pixels between images
NARROWEST = 900  # pixels, so that the title stays readable over a single column


def sample_grid(files: list[Path], images: int) -> Image.Image:
    """Return the first `images` samples of a checkpoint as a grid; `files` in the order of the set.

    Raises UserError if images of different files differ in shape.
    """
    parts: list[np.ndarray] = []
    wanted = images
    for path in files:
        if wanted <= 0:
            break
        part = open_sample_file(path)[:wanted]
        if parts and part.shape[1:] != parts[0].shape[1:]:
            raise UserError(f"{path}: its images differ in shape from those of {files[0]}")
        parts.append(part)
        wanted -= len(part)
    return image_grid(np.concatenate(parts))


def first_images(
    steps: list[int], samples: list[Path], shown: list[int], count: int
) -> list[np.ndarray]:
    """Return the first images of the files at the positions `shown`, each uint8 [<= count, H, W,
    C].

    Raises UserError if files and steps do not pair, or images differ in shape.
    """
    if len(steps) != len(samples) or not steps:
        raise UserError(
            f"{len(steps)} training steps and {len(samples)} files of samples are given; "
            "give one file for each step, and at least one"
        )
    parts = [np.asarray(open_sample_file(samples[index])[:count]) for index in shown]
    for index, part in zip(shown, parts, strict=True):
        if part.shape[1:] != parts[0].shape[1:]:
            raise UserError(f"{samples[index]}: its images differ in shape from the others'")
    fewest = min(map(len, parts))
    return [part[:fewest] for part in parts]


def samples_over_training(steps: list[int], samples: list[Path], title: str) -> Figure:
    """Draw the same noise at each checkpoint: a column per checkpoint, a row per image.

    `samples` holds the first file of each checkpoint, in the order of `steps`; of many, evenly
    spread ones are shown, and the title has both numbers.
    """
    shown = spread(len(steps), MOST_CHECKPOINTS)
    columns = first_images(steps, samples, shown, ROWS)
    if len(shown) < len(steps):
        title += f" ({len(shown)} of {len(steps)} checkpoints)"
    canvas, side = tiled(columns)
    return labelled(canvas, side, [steps[index] for index in shown], title)


def tiled(columns: list[np.ndarray], shown_side: int = SHOWN_SIDE) -> tuple[np.ndarray, int]:
    """Return images [n, H, W, C] of each column as one white canvas [h, w, 3], and a tile's width.

    They are enlarged by the smallest whole factor that makes them `shown_side` pixels wide.
    """
    count, height, width = min(map(len, columns)), *columns[0].shape[1:3]
    factor = max(1, -(-shown_side // width))
    tile_y, tile_x = height * factor + GAP, width * factor + GAP
    canvas = np.full((count * tile_y - GAP, len(columns) * tile_x - GAP, 3), 255, np.uint8)
    for x, column in enumerate(columns):
        enlarged = column[:count].repeat(factor, axis=1).repeat(factor, axis=2)
        for y, image in enumerate(enlarged):
            top, left = y * tile_y, x * tile_x
            canvas[top : top + height * factor, left : left + width * factor] = image
    return canvas, tile_x


def labelled(canvas: np.ndarray, tile: int, steps: list[int], title: str) -> Figure:
    """Draw the canvas pixel for pixel, with a title and the training step of each column.

    tile: width of a column in pixels.
    """
    height, width = canvas.shape[:2]
    margin, scale = 60, DPI / 72
    full_width = max(width + 2 * margin, NARROWEST)
    lines = textwrap.wrap(title, int(full_width / (17 * scale * 0.66)))
    above = round(scale * (17 * 1.3 * len(lines) + 58))
    full_height = height + above + margin
    with house_style():
        figure = Figure((full_width / DPI, full_height / DPI), dpi=DPI)
        left = (full_width - width) // 2
        figure.text(
            0.5, 1 - 12 * scale / full_height, "\n".join(lines),
            fontsize=17, fontweight="bold", ha="center", va="top",
        )  # fmt: skip
        axes = figure.add_axes(
            (left / full_width, margin / full_height, width / full_width, height / full_height)
        )
        axes.imshow(canvas, interpolation="none", aspect="auto", extent=(0, width, height, 0))
        axes.set_xticks([(index + 0.5) * tile for index in range(len(steps))])
        axes.set_xticklabels([f"{step:,}" for step in steps], fontsize=12)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("training steps", fontsize=13)
        axes.set(yticks=[], frame_on=False)
        axes.grid(False)
        axes.tick_params(length=0)
        axes.set_ylabel("same noise along each row", fontsize=12)
    return figure


def write_failure_picture(path: Path, title: str, failed: RecordedFailure) -> None:
    """Write a PNG, or a GIF of one frame, with the reason why there are no images."""
    figure = empty_figure(title, f"No images: {failed.in_words()}")
    if path.suffix != ".gif":
        save_figure(figure, path)
        return
    drawn = io.BytesIO()
    with house_style():
        figure.savefig(drawn, format="png", dpi=DPI)
    with replacing(path) as temporary:
        Image.open(drawn).convert("P").save(temporary, format="GIF")


def with_images(
    steps: list[int], files: list[Path]
) -> tuple[list[int], list[Path], RecordedFailure | None]:
    """Return the steps whose file of samples holds images, those files, and the first failure."""
    failed = [failure_of_samples([path]) for path in files]
    why = next((one for one in failed if one is not None), None)
    if why is None:
        return steps, files, None
    kept = [index for index, one in enumerate(failed) if one is None]
    return [steps[index] for index in kept], [files[index] for index in kept], why


def write_sample_grid(samples: list[Path], images: int, output: Path) -> None:
    """Write the grid of a checkpoint's first `images` samples, or a picture of its failure, as PNG.

    output: <experiment>/samples/<set>/<step>/<file>; the path is the title of a failure.
    """
    failed = failure_of_samples(samples)
    if failed is not None:
        *_, experiment, _, name, step, _ = output.absolute().parts
        write_failure_picture(output, f"{experiment}: samples {name}, {step}", failed)
        return
    picture = sample_grid(samples, images)
    with replacing(output) as temporary:
        picture.save(temporary)
