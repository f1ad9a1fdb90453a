"""Passes of a feature network over images."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tqdm import tqdm

from ddpm_bench.errors import UserError
from ddpm_bench.scoring.features.spaces import FeatureSpace


def _batches(arrays: Sequence[np.ndarray], count: int, size: int) -> Iterator[np.ndarray]:
    """Yield the first `count` images in batches that do not depend on the cut into files."""
    parts: list[np.ndarray] = []
    missing = min(size, count)
    for array in arrays:
        here = 0
        while missing and here < len(array):
            part = array[here : here + missing]
            parts.append(part)
            here, missing, count = here + len(part), missing - len(part), count - len(part)
            if missing == 0:
                yield np.concatenate(parts)
                parts, missing = [], min(size, count)


@torch.inference_mode()
def extract(
    space: FeatureSpace,
    arrays: Sequence[np.ndarray],
    count: int,
    batch_size: int,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Compute features [count, D] and logits [count, K], float32, of the first `count` images.

    `arrays` hold uint8 images [N, H, W, C]. The logits are None if the network has none. Raises
    UserError when the network takes other shapes, or outputs a feature that is not finite.
    """
    shape = arrays[0].shape[1:]
    if space.image_shape is not None and shape != space.image_shape:
        raise UserError(
            f"images are {list(shape)} (H, W, C) and the {space.name} takes "
            f"{list(space.image_shape)}; both must come from one dataset"
        )
    features = np.empty((count, space.dimensions), np.float32)
    logits: np.ndarray | None = None
    done = 0
    with tqdm(total=count, desc=f"{space.name} features", unit="image") as progress:
        for images in _batches(arrays, count, batch_size):
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
            batch_features, batch_logits = space.network(pixels)
            rows = slice(done, done + len(images))
            features[rows] = batch_features.cpu().numpy()
            _check_finite(space, features[rows], done)
            if batch_logits is not None:
                if logits is None:  # allocated whole: a list of batches would need twice the memory
                    logits = np.empty((count, batch_logits.shape[1]), np.float32)
                logits[rows] = batch_logits.cpu().numpy()
            done += len(images)
            progress.update(len(images))
    assert done == count
    return features, logits


def _check_finite(space: FeatureSpace, features: np.ndarray, first: int) -> None:
    """Raise UserError naming the first image with a feature that is not finite."""
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise UserError(
            f"image {first + int(finite.argmin())} has {space.name} features that are not finite, "
            f"so there are no scores: the weights (sha256 {space.weights_sha256}) are broken; "
            "fetch or train them again"
        )
