"""Short animations of small images, as GIF files: over training, and from noise to image."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from ddpm_bench.files import replacing
from ddpm_bench.images.grid import spread
from ddpm_bench.report.figures.sample_pictures import first_images, tiled

COLUMNS = 8  # images side by side, fewer where they are large
MOST_WIDE = 1100  # pixels of a frame
NARROWEST = 560  # pixels, so that the heading stays readable
SHOWN_SIDE = 96  # pixels, at least: small images are enlarged by a whole factor
MARGIN = 16  # pixels
MOST_FRAMES = 40
# Over all frames: noise hardly compresses, and a report includes whole files.
MOST_PIXELS = 8_000_000
LAST_MILLISECONDS = 2500
MOST_SECONDS = 6  # until the last frame
DARK, PALE = 40, 215  # gray levels of text, and of the rest of the progress bar


def frames_of(height: int, width: int, rows: int) -> tuple[int, int]:
    """Return the number of frames, and of images in each row, that fit the size limits."""
    columns = max(1, min(COLUMNS, MOST_WIDE // shown_side(width)))
    pixels = columns * rows * shown_side(width) * shown_side(height)
    return max(8, min(MOST_FRAMES, MOST_PIXELS // pixels)), columns


def shown_side(side: int) -> int:
    """Return the side in pixels of a shown image, enlarged by a whole factor if it is small."""
    return side * max(1, -(-SHOWN_SIDE // side))


def training_frames(steps: list[int], samples: list[Path], title: str) -> Iterator[Image.Image]:
    """Yield a frame per checkpoint of images from the same noise; of many, evenly spaced ones.

    samples: the first file of each checkpoint, in the order of `steps`.
    """
    (first,) = first_images(steps, samples, [0], 1)
    most, columns = frames_of(*first.shape[1:3], rows=2)
    shown = spread(len(steps), most)
    for index, images in zip(shown, first_images(steps, samples, shown, 2 * columns), strict=True):
        rows = [("", images[:columns]), ("", images[columns:])]
        text = f"training step {steps[index]:,}"
        yield frame(title, text, [row for row in rows if len(row[1])], steps[index] / steps[-1])


def denoising_frames(
    steps: Iterable[tuple[int, np.ndarray, np.ndarray]], of: int, title: str
) -> Iterator[Image.Image]:
    """Yield a frame per solver step of `sampler.denoising_steps`; `of` counts all steps."""
    for number, images, estimates in steps:
        rows = [
            ("images at this step", images),
            ("estimates of the clean images", estimates),
        ]
        yield frame(title, f"solver step {number:,} of {of:,}", rows, number / of)


def frame(title: str, text: str, rows: list[tuple[str, np.ndarray]], done: float) -> Image.Image:
    """Draw rows of images, each under its name, below a heading and a progress bar.

    done: position of the bar, 0 to 1. Images are uint8 [n, H, W, C]; the frame's mode is L for one
    channel, else RGB.
    """
    strips = [strip_of(images) for _, images in rows]
    names = [26 if name else 0 for name, _ in rows]
    width = max(NARROWEST, max(strip.shape[1] for strip in strips) + 2 * MARGIN)
    lines = wrapped(title, font(19, bold=True), width - 2 * MARGIN)
    above = MARGIN + 26 * len(lines) + 36
    height = above + sum(names) + sum(len(strip) + 8 for strip in strips) + MARGIN - 8
    picture = Image.new("RGB" if strips[0].ndim == 3 else "L", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    gray = {level: (level,) * 3 if picture.mode == "RGB" else level for level in (DARK, PALE)}
    for number, line in enumerate(lines):
        pen.text((MARGIN, MARGIN + 26 * number), line, fill=gray[DARK], font=font(19, bold=True))
    pen.text((MARGIN, above - 34), text, fill=gray[DARK], font=font(16))
    right = width - MARGIN
    pen.rectangle((MARGIN, above - 9, right, above - 6), fill=gray[PALE])
    pen.rectangle((MARGIN, above - 9, MARGIN + (right - MARGIN) * done, above - 6), fill=gray[DARK])
    top = above
    for (name, _), room, strip in zip(rows, names, strips, strict=True):
        pen.text((MARGIN, top + 3), name, fill=gray[DARK], font=font(14))
        picture.paste(Image.fromarray(strip), (MARGIN, top + room))
        top += room + len(strip) + 8
    return picture


def strip_of(images: np.ndarray) -> np.ndarray:
    """Return images [n, H, W, C] side by side, enlarged: uint8 [h, w], or [h, w, 3] in colour."""
    canvas, _ = tiled([image[None] for image in images], SHOWN_SIDE)
    return canvas[..., 0] if images.shape[3] == 1 else canvas


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font of our figures, which matplotlib includes."""
    properties = font_manager.FontProperties(
        family="DejaVu Sans", weight="bold" if bold else "normal"
    )
    path = font_manager.findfont(properties, fallback_to_default=False)
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def wrapped(text: str, face: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Split a text into lines of at most `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and face.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def save_animation(frames: Iterable[Image.Image], path: Path) -> None:
    """Write a GIF that repeats without end and pauses on its last frame, atomically.

    Gray frames keep every level; frames in colour are reduced to 256 colours each.
    """
    indexed = [picture if picture.mode == "L" else with_palette(picture) for picture in frames]
    pace = min(400, max(60, 1000 * MOST_SECONDS // len(indexed)))
    durations = [pace] * (len(indexed) - 1) + [LAST_MILLISECONDS]
    with replacing(path) as temporary:
        indexed[0].save(
            temporary, format="GIF", save_all=True, append_images=indexed[1:],
            duration=durations, loop=0, optimize=False,
        )  # fmt: skip


def with_palette(picture: Image.Image) -> Image.Image:
    """Convert an RGB picture to the 256 colours that fit it best (median cut)."""
    return picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
