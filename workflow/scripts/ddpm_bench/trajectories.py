"""The way of a few images from noise, step by step of the solver."""

from collections.abc import Iterator

import numpy as np

from ddpm_bench.images.grid import spread
from ddpm_bench.sampling import Sampler


def denoising_steps(
    sampler: Sampler, images: int, most: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Up to `most` solver steps, evenly spread: their numbers from 1 on, and after each the first
    images of the set as they are then and the estimates of the clean ones in it.

    Both uint8 [n, H, W, C], n up to `images` and one batch. A whole batch is drawn, as for the
    set: the last step has its very bytes.
    """
    batch_size = sampler.stage.drawing.batch_size
    shown = set(spread(sampler.stage.drawing.solver_steps(), most))
    for index, (noised, clean) in enumerate(sampler.denoise(0, batch_size)):
        if index in shown:
            parts = (sampler.images(part[:images]).numpy() for part in (noised, clean))
            yield index + 1, *parts
