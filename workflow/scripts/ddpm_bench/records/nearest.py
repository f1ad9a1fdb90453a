"""Record of the distances from generated to training images, which score.py writes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddpm_bench.errors import UserError
from ddpm_bench.files import replacing
from ddpm_bench.records.checksums import UNREADABLE_NPZ
from ddpm_bench.records.json_record import ANEW


@dataclass(frozen=True)
class Nearest:
    """Euclidean distances in feature space to the nearest training image."""

    generated_distance: np.ndarray  # float32 [N]
    nearest_train: np.ndarray  # int64 [N]: the row of train.npy that each generated image is near
    heldout_distance: np.ndarray  # float32 [M]; empty where nothing is held out


def read_nearest(path: Path) -> Nearest:
    """Read the file step-<step>.nearest.npz of a score. Raises UserError for another file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = Nearest(
                arrays["generated_distance"], arrays["nearest_train"], arrays["heldout_distance"]
            )
    except UNREADABLE_NPZ as error:
        raise UserError(
            f"{path}: cannot be read as distances of a score ({error}); {ANEW}"
        ) from None
    if found.generated_distance.shape != found.nearest_train.shape:
        raise UserError(f"{path}: its arrays differ in length; score it again")
    return found


def write_nearest(path: Path, nearest: Nearest | None) -> None:
    """Write the distances to the nearest training images as .npz; empty arrays for None."""
    empty = Nearest(np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.float32))
    with replacing(path) as temporary:
        np.savez(temporary, **vars(nearest or empty))
