"""The images of each training step: pure functions of the seed and the step."""

import numpy as np
import torch

from ddpm_bench.config.training import Optimisation
from ddpm_bench.models.diffusion import to_model_range
from ddpm_bench.models.randomness import batch_flips, batch_positions


class Batches:
    """The global batches of a training, any part of which a process can read.

    images: uint8 [N, H, W, C], or latents float32 [N, h, w, c]; may be memory-mapped.
    """

    def __init__(self, images: np.ndarray, keys: Optimisation, device: torch.device) -> None:
        self._images, self._keys, self._device = images, keys, device

    def part(self, step: int, part: slice) -> torch.Tensor:
        """Return a part of the batch after `step` steps: float32 [n, C, H, W], in [-1, 1] or
        latents."""
        keys, count = self._keys, self._keys.batch_size
        seen = step * count
        positions = batch_positions(keys.seed, seen, count, len(self._images))[part]
        levels = self._images[positions]
        if keys.horizontal_flips:
            flipped = batch_flips(keys.seed, seen, count, len(self._images))[part]
            levels[flipped] = levels[flipped, :, ::-1]
        pixels = torch.from_numpy(levels)
        if self._device.type == "cuda":
            pixels = pixels.pin_memory()  # so that the copy does not wait for the step before
        # channels_last, as the arrays lie
        return to_model_range(pixels.to(self._device, non_blocking=True))
