"""The share of generated images that are as close to training images as few held-out ones are."""

import numpy as np
from scipy import stats

CHANCE = 0.05  # expected share of images of the distribution itself, for every held-out count
# The closest of 19 held-out images has 1/20 of the distribution below it; of fewer, more.
FEWEST_HELD_OUT = 19
CONFIDENCE = 0.95


def close_distances(heldout: np.ndarray) -> tuple[float, float, float]:
    """Return two neighbouring order statistics of held-out distances [M], and the second's weight.

    A new distance of the same distribution is below the r-th smallest of M with probability
    r / (M + 1) (David & Nagaraja 2003, "Order Statistics", section 2.3). With r + weight =
    CHANCE (M + 1), the weighted probability is CHANCE. Raises ValueError for fewer than
    FEWEST_HELD_OUT distances.
    """
    if len(heldout) < FEWEST_HELD_OUT:
        raise ValueError(f"needs {FEWEST_HELD_OUT} held-out distances; there are {len(heldout)}")
    # Rounded, since 0.05 * 20 need not be 1 in binary.
    place = round(CHANCE * (len(heldout) + 1), 9)
    rank = int(place)
    ordered = np.partition(heldout, [rank - 1, rank])
    return float(ordered[rank - 1]), float(ordered[rank]), place - rank


def memorised_share(generated: np.ndarray, heldout: np.ndarray) -> float:
    """Return the share of generated distances [N] below the closest 5% of held-out distances [M].

    It is the weighted mean of the shares below two order statistics (`close_distances`), so that
    CHANCE is expected of distances of one distribution, for every M from FEWEST_HELD_OUT on.
    """
    first, second, weight = close_distances(heldout)
    below_first, below_second = (generated < first).mean(), (generated < second).mean()
    return float((1 - weight) * below_first + weight * below_second)


def chance_interval(generated: int, heldout: int) -> tuple[float, float]:
    """Return the interval that holds 95% of memorised shares of images that are not memorised.

    The r-th of M held-out distances has a share of the distribution below it that is distributed as
    Beta(r, M + 1 - r), and the number of N generated distances there as Beta-binomial; for
    r = CHANCE (M + 1) between two integers, see Stigler 1977, "Fractional Order Statistics".
    """
    rank = CHANCE * (heldout + 1)
    chances = stats.betabinom.pmf(np.arange(generated + 1), generated, rank, heldout + 1 - rank)
    ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.searchsorted(np.cumsum(chances), ends)
    return float(low / generated), float(high / generated)
