"""All randomness of training and sampling, as pure functions of the seed and of counters.

No generator lives from one step to the next, so there is no state to save: a run that is killed and
started again, or that goes on with another number of processes, draws the same numbers.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch

# Each use draws from a stream of its own, so that none can correlate with another.
STREAMS = {
    "weights": 0,
    "image order": 1,
    "training step": 2,
    "sample": 3,
    "flips": 4,
    "self-conditioning": 5,
    "validation": 6,
    "codebooks": 7,
    "dropout": 8,
}


def derived_seed(seed: int, stream: str, *counters: int) -> int:
    """Return a 63-bit seed that depends on the arguments alone.

    numpy's SeedSequence is stable across versions and platforms (its documentation promises so).
    """
    entropy = [seed, STREAMS[stream], *counters]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _epoch_generator(seed: int, stream: str, epoch: int) -> np.random.RandomState:
    """Return the generator of an epoch.

    RandomState's streams are frozen by numpy's policy (NEP 19), unlike Generator's.
    """
    entropy = np.random.SeedSequence([seed, STREAMS[stream], epoch])
    return np.random.RandomState(entropy.generate_state(4))


@functools.lru_cache(maxsize=2)  # a batch touches at most two epochs unless the dataset is tiny
def epoch_order(seed: int, epoch: int, images: int) -> np.ndarray:
    """Return the order in which an epoch visits the images: a permutation, int64 [images]."""
    return _epoch_generator(seed, "image order", epoch).permutation(images)


@functools.lru_cache(maxsize=2)
def epoch_flips(seed: int, epoch: int, images: int) -> np.ndarray:
    """Return True for images that an epoch mirrors, half of them by chance: bool [images].

    In the order of the epoch's visits.
    """
    return _epoch_generator(seed, "flips", epoch).randint(0, 2, images).astype(bool)


def batch_positions(seed: int, images_seen: int, count: int, images: int) -> np.ndarray:
    """Return the positions in the dataset of a batch's images: int64 [count].

    The batch follows the first `images_seen` images of the training. Every image is seen once per
    epoch; a batch may end one epoch and begin the next.
    """
    return _over_epochs(epoch_order, seed, images_seen, count, images).astype(np.int64)


def batch_flips(seed: int, images_seen: int, count: int, images: int) -> np.ndarray:
    """Return True for images of a batch that are mirrored: bool [count].

    For the images of `batch_positions` with the same arguments.
    """
    return _over_epochs(epoch_flips, seed, images_seen, count, images).astype(bool)


def _over_epochs(
    of_epoch: Callable[[int, int, int], np.ndarray],
    seed: int,
    images_seen: int,
    count: int,
    images: int,
) -> np.ndarray:
    """Return the values of `of_epoch` for the `count` images after the first `images_seen`."""
    epochs, offsets = np.divmod(np.arange(images_seen, images_seen + count), images)
    parts = [
        of_epoch(seed, int(epoch), images)[offsets[epochs == epoch]] for epoch in np.unique(epochs)
    ]
    return np.concatenate(parts)


def step_draws(
    seed: int,
    step: int,
    shape: tuple[int, int, int, int],
    timesteps: int,
    device: torch.device,
    offset_noise: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw noise and timesteps of one training step, for the whole global batch.

    Every process draws all of it and takes its slice. Returns noise, float32 `shape` [N, C, H, W],
    standard normal, plus `offset_noise` times one standard normal value per image and channel
    (Guttenberg 2023, "Diffusion with offset noise"); and timesteps, int64 [N], uniform over 0 ..
    timesteps - 1.
    """
    generator = torch.Generator(device)
    generator.manual_seed(derived_seed(seed, "training step", step))
    times = torch.randint(timesteps, shape[:1], generator=generator, device=device)
    noise = torch.randn(shape, generator=generator, device=device)
    if offset_noise:
        offsets = torch.randn((*shape[:2], 1, 1), generator=generator, device=device)
        noise = noise + offset_noise * offsets
    return noise, times


def sees_estimate(seed: int, step: int) -> bool:
    """Return True at the training steps at which the network sees its own estimate.

    Half of them, by chance (self-conditioning, Chen et al. 2022, algorithm 1).
    """
    return derived_seed(seed, "self-conditioning", step) % 2 == 1


def image_generator(seed: int, image: int) -> torch.Generator:
    """Return the generator of image number `image` of a set, on the CPU, for all hardware."""
    return torch.Generator().manual_seed(derived_seed(seed, "sample", image))


def validation_positions(seed: int, images: int, count: int) -> np.ndarray:
    """Draw the `count` of a split's `images` that are validated on: int64 [count], each once.

    In the order of the draw, so that neither they nor their timesteps follow the order of the
    dataset, in which a label's images stand together.
    """
    return _epoch_generator(seed, "validation", 0).permutation(images)[:count]


def validation_draws(
    seed: int, positions: range, images: int, timesteps: int, shape: tuple[int, int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw noise and timesteps of the images at `positions` of `images` that are validated on.

    Each is a pure function of the seed and its position. Returns noise, float32 [n, C, H, W],
    standard normal; and timesteps, int64 [n], stratified: that of position i is uniform over the
    i-th of `images` equal parts of 0 .. timesteps - 1, so that their mean varies less than that of
    independent ones. On the CPU, the same on all hardware.
    """
    noises, times = [], []
    for position in positions:
        generator = torch.Generator()
        generator.manual_seed(derived_seed(seed, "validation", 1 + position))
        within = torch.rand((), generator=generator, dtype=torch.float64).item()
        time = int((position + within) * timesteps / images)
        times.append(min(time, timesteps - 1))  # the quotient may be rounded up to T
        noises.append(torch.randn(shape, generator=generator))
    return torch.stack(noises), torch.tensor(times)
