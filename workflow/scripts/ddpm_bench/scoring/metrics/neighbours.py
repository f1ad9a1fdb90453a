"""Euclidean distances between the rows of two arrays, a block of rows at a time.

All distances between 50,000 images and 50,000 others are 10 GB; a block of them is BLOCK_BYTES.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

BLOCK_BYTES = 2**24


def distance_blocks(rows: np.ndarray, others: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of rows of `rows` [N, D] with their distances [n, M] to all of `others` [M, D].

    float32, from |x - y|^2 = |x|^2 + |y|^2 - 2 x y, so those of nearly equal rows have an error of
    1e-3 of the rows' length; callers that must separate copies from neighbours compute them again
    (`exact_distance`). torch.cdist does the same, with a copy of `others` for each block.
    """
    size = max(1, BLOCK_BYTES // (4 * max(1, len(others))))
    columns = torch.from_numpy(others)
    column_squares = squared_length(others)
    for first in range(0, len(rows), size):
        block = slice(first, first + size)
        products = torch.addmm(column_squares, torch.from_numpy(rows[block]), columns.T, alpha=-2)
        squares = products.add_(squared_length(rows[block])[:, None])
        yield block, squares.clamp_(min=0).sqrt_()


def squared_length(rows: np.ndarray) -> Tensor:
    """Return the sum of the squares of each row [N, D], float32 [N]."""
    return torch.from_numpy(np.einsum("nd,nd->n", rows, rows))


def neighbour_distance(rows: np.ndarray, k: int) -> np.ndarray:
    """Return the distance of each row [N, D] to its k-th nearest other row, float32 [N]; k < N."""
    found = np.empty(len(rows), np.float32)
    for block, distances in distance_blocks(rows, rows):
        # The nearest row of all is the row itself.
        found[block] = distances.kthvalue(k + 1, dim=1).values.numpy()
    return found


def nearest_row(rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest of `others` [M, D] to each row [N, D].

    Returns its index, int64 [N], and its distance, float32 [N], which is 0 for a copy.
    """
    index = np.empty(len(rows), np.int64)
    distance = np.empty(len(rows), np.float32)
    for block, distances in distance_blocks(rows, others):
        index[block] = distances.argmin(dim=1).numpy()
        distance[block] = exact_distance(rows[block], others[index[block]])
    return index, distance


def exact_distance(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the distance of each row [N, D] to the row of `others` [N, D] beside it.

    float32 [N], computed from the differences themselves.
    """
    return np.linalg.norm(rows - others, axis=1)
