"""Check before a training that its scores will have the images that their keys need."""

from pathlib import Path

import numpy as np

from ddpm_bench.config.score_sizes import NeededImages, too_few_of_reference
from ddpm_bench.errors import UserError
from ddpm_bench.records.json_record import ANEW


def refuse_too_few_images(needed: tuple[NeededImages, ...], dataset: Path) -> None:
    """Raise UserError if keys of scores need more images than a prepared dataset has.

    dataset: folder with train.npy and eval.npy, of images or of their latents [N, ...].
    """
    if not needed:
        return
    images = {split: _count(dataset / f"{split}.npy") for split in ("train", "eval")}
    images["all"] = sum(images.values())
    if problems := list(too_few_of_reference(needed, images)):
        raise UserError("; ".join(problems))


def _count(path: Path) -> int:
    """Return the number of images in an array's file, of which only the head is read."""
    try:
        return len(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as an array ({error}); {ANEW}") from None
