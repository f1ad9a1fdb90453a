"""All randomness of training and sampling, as pure functions of the seed and of counters.

No generator lives from one step to the next, so there is no state to save: a run that is killed and
started again, or that goes on with another number of processes, draws the same numbers.
"""

import functools

import numpy as np
import torch

# Each use draws from a stream of its own, so that none can correlate with another.
STREAMS = {"weights": 0, "image order": 1, "training step": 2, "sample": 3}


def derived_seed(seed: int, stream: str, *counters: int) -> int:
    """A 63-bit seed that depends on the arguments alone.

    numpy's SeedSequence is stable across versions and platforms (its documentation promises so).
    """
    entropy = [seed, STREAMS[stream], *counters]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


@functools.lru_cache(maxsize=2)  # a batch touches at most two epochs unless the dataset is tiny
def epoch_order(seed: int, epoch: int, images: int) -> np.ndarray:
    """The order in which an epoch visits the images: a permutation, int64 [images].

    RandomState's streams are frozen by numpy's policy (NEP 19), unlike Generator's.
    """
    entropy = np.random.SeedSequence([seed, STREAMS["image order"], epoch])
    return np.random.RandomState(entropy.generate_state(4)).permutation(images)


def batch_positions(seed: int, images_seen: int, count: int, images: int) -> np.ndarray:
    """Positions in the dataset of the `count` images after the first `images_seen`, int64 [count].

    Every image is seen once per epoch; a batch may end one epoch and begin the next.
    """
    cursor = np.arange(images_seen, images_seen + count)
    epochs, offsets = np.divmod(cursor, images)
    positions = np.empty(count, np.int64)
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        positions[inside] = epoch_order(seed, int(epoch), images)[offsets[inside]]
    return positions


def step_draws(
    seed: int, step: int, shape: tuple[int, int, int, int], timesteps: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and timesteps of one training step, of the whole global batch.

    Every process draws all of it and takes its slice. Returns noise, float32 `shape` [N, C, H, W],
    standard normal; and timesteps, int64 [N], uniform over 0 .. timesteps - 1.
    """
    generator = torch.Generator(device)
    generator.manual_seed(derived_seed(seed, "training step", step))
    times = torch.randint(timesteps, shape[:1], generator=generator, device=device)
    noise = torch.randn(shape, generator=generator, device=device)
    return noise, times


def image_generator(seed: int, image: int) -> torch.Generator:
    """The generator of image number `image` of a set: on the CPU, the same on all hardware."""
    return torch.Generator().manual_seed(derived_seed(seed, "sample", image))
