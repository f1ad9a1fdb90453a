"""Images that occur several times in a set."""

from collections import Counter

import numpy as np


def repeated_share(features: np.ndarray, times: int) -> float:
    """Return the share of the images [N, D] that occur more than `times` times.

    Copies are known by features with the same bytes: distances of equal rows, from their products,
    are not 0 (`neighbours.distance_blocks`).
    """
    hashes = [hash(row.tobytes()) for row in features]
    occurs = Counter(hashes)
    return sum(occurs[one] > times for one in hashes) / len(hashes)
