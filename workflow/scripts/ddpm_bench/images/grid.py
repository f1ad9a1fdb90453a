"""Grids: many small images as one picture."""

import math

import numpy as np
from PIL import Image

SMALLEST_TILE = 48  # pixels: smaller images are enlarged by a whole factor


def image_grid(images: np.ndarray, columns: int | None = None, gap: int = 2) -> Image.Image:
    """Tile uint8 images [N, H, W, C] (C 1 or 3) row by row on white, `gap` pixels apart.

    Without `columns` the grid is as square as possible. Small images are enlarged by a whole
    factor, each pixel to a block, without smoothing. Raises ValueError for N = 0.
    """
    count, height, width, channels = images.shape
    if count == 0:
        raise ValueError("a grid needs at least one image")
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    factor = max(1, math.ceil(SMALLEST_TILE / height))
    tiles = images.repeat(factor, axis=1).repeat(factor, axis=2)
    step_y, step_x = height * factor + gap, width * factor + gap
    canvas = np.full((rows * step_y + gap, columns * step_x + gap, channels), 255, np.uint8)
    for index, tile in enumerate(tiles):
        y, x = gap + index // columns * step_y, gap + index % columns * step_x
        canvas[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def spread(count: int, most: int) -> list[int]:
    """Return up to `most` of the indices 0 to count - 1, evenly spread, with first and last."""
    if count <= most:
        return list(range(count))
    return [round(index) for index in np.linspace(0, count - 1, most)]
