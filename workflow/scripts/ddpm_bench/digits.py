"""The 1,797 handwritten digits that scikit-learn brings along: a dataset without a network."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ddpm_bench.errors import UserError
from ddpm_bench.published import Batch


def write_digits(folder: Path) -> None:
    """Write images.npy, uint8 [1797, 8, 8, 1], levels 0..16 spread over 0..255, and labels.npy."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    np.save(folder / "images.npy", np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None])
    np.save(folder / "labels.npy", digits.target.astype(np.uint8))


def digit_batches(folder: Path) -> Iterator[Batch]:
    """All digits as one part. Raises UserError when the files are not those of `write_digits`."""
    try:
        images = np.load(folder / "images.npy", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{folder}: holds no digits ({error}); fetch them again") from None
    yield Batch("train", 0, images, [str(label) for label in labels])
