"""Arrays of images in .npy files, as samples and datasets have them."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddpm_bench.errors import UserError


def samples_of(folder: Path) -> list[Path]:
    """The files images-<first>-<last>.npy of a checkpoint, which must follow each other."""
    files = sorted(folder.glob("images-*.npy"))
    if not files:
        raise UserError(
            f"{folder}: holds no images-*.npy; give the folder of one set and checkpoint, "
            "<experiment>/samples/<set>/step-<step>, or files"
        )
    here = 0
    for file in files:
        match = re.fullmatch(r"images-(\d+)-(\d+)\.npy", file.name)
        if match is None or int(match[1]) != here:
            raise UserError(
                f"{file}: does not go on at image {here}; finish the sampling, or name the files "
                "to export"
            )
        here = int(match[2]) + 1
    return files


def open_images(paths: Sequence[Path]) -> list[np.ndarray]:
    """Memory-map arrays of uint8 images [N, H, W, C], C 1 or 3, all of one shape but N."""
    arrays: list[np.ndarray] = []
    for path in paths:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as images ({error}); make it again") from None
        _check_images(path, array)
        if arrays and array.shape[1:] != arrays[0].shape[1:]:
            raise UserError(
                f"{path}: its images are {list(array.shape[1:])} and those of {paths[0]} are "
                f"{list(arrays[0].shape[1:])}; make both from one config"
            )
        arrays.append(array)
    return arrays


def _check_images(path: Path, array: np.ndarray) -> None:
    """UserError when an array is no uint8 images [N, H, W, C]."""
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] in (1, 3):
        return
    held = f"{array.dtype} {list(array.shape)}"
    if array.dtype != np.uint8 and array.dtype.kind in "iuf" and array.size:
        held += f" with values from {array.min():g} to {array.max():g}"
    raise UserError(
        f"{path}: holds {held}; images are uint8 [N, H, W, C] from 0 to 255 with 1 or 3 channels"
    )


def open_samples(paths: Sequence[Path], count: int) -> list[np.ndarray]:
    """Memory-map the first `count` samples of files named images-<first>-<last>.npy.

    The files may be given in any order. Raises UserError when they do not follow each other from
    image 0 on, when one holds another number of images than its name says, or when all together
    hold fewer than `count`.
    """
    named = sorted((*_first_and_last(path), path) for path in paths)
    held = open_images([path for _, _, path in named])
    here = 0
    for (first, last, path), array in zip(named, held, strict=True):
        if first != here:
            raise UserError(
                f"{path}: begins at image {first}; the file with image {here} is missing"
            )
        if len(array) != last + 1 - first:
            raise UserError(
                f"{path}: holds {len(array)} images and its name says {last + 1 - first}; "
                "draw it again"
            )
        here = last + 1
    if here < count:
        raise UserError(f"{count} samples are asked for and {here} are given; draw the rest")
    return held


def _first_and_last(path: Path) -> tuple[int, int]:
    match = re.fullmatch(r"images-(\d+)-(\d+)\.npy", path.name)
    if match is None:
        raise UserError(f"{path}: samples are named images-<first>-<last>.npy")
    return int(match[1]), int(match[2])


def open_sample_file(path: Path) -> np.ndarray:
    """Memory-map a file of samples, uint8 [n, H, W, C]. Raises UserError when it is none."""
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as samples ({error}); draw them again") from None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise UserError(
            f"{path}: holds {images.dtype} {list(images.shape)}; "
            "samples are uint8 [images, height, width, 1 or 3]"
        )
    if len(images) == 0:
        raise UserError(f"{path}: holds no images; draw them again")
    return images
