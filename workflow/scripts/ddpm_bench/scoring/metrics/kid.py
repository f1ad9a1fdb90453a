"""KID: the unbiased squared MMD with a cubic kernel, over random subsets.

Binkowski et al. 2018, "Demystifying MMD GANs".
"""

import numpy as np
import torch
from torch_fidelity.metric_kid import (
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    kernel_poly,
    kid_features_to_metric,
    mmd2,
)

# Largest side, in images, for which the kernel of all pairs is held in memory: 64 MB for each of
# the three blocks, and twice that while it is computed.
LARGEST_KERNEL = 4000


def kernel_distance(
    generated: np.ndarray, real: np.ndarray, *, subsets: int, size: int, seed: int
) -> tuple[float, float]:
    """Return mean and standard deviation of KID over `subsets` pairs of subsets of `size` images.

    generated, real: features [N, D] and [M, D], float32. The subsets, without repeats within one,
    are torch-fidelity's. Subsets of few images have most pairs in common, so the kernel of all
    pairs is computed once: for 1,000 and 1,541 images a fifth of the time, and equal to
    torch-fidelity's own loop up to the rounding of its float32 sums.
    """
    if max(len(generated), len(real)) > LARGEST_KERNEL:
        return _by_torch_fidelity(generated, real, subsets, size, seed)
    random = np.random.RandomState(seed)
    within_generated = kernel_poly(generated, generated)
    within_real = kernel_poly(real, real)
    between = kernel_poly(generated, real)
    found = []
    for _ in range(subsets):
        ours = random.choice(len(generated), size, replace=False)
        theirs = random.choice(len(real), size, replace=False)
        found.append(
            mmd2(
                within_generated[np.ix_(ours, ours)],
                between[np.ix_(ours, theirs)],
                within_real[np.ix_(theirs, theirs)],
            )
        )
    return float(np.mean(found)), float(np.std(found))


def _by_torch_fidelity(
    generated: np.ndarray, real: np.ndarray, subsets: int, size: int, seed: int
) -> tuple[float, float]:
    """Return mean and standard deviation of KID from torch-fidelity's loop over subsets."""
    found = kid_features_to_metric(
        torch.from_numpy(generated),
        torch.from_numpy(real),
        kid_subsets=subsets,
        kid_subset_size=size,
        rng_seed=seed,
        verbose=False,
    )
    return found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD]
