"""Export of images as a folder of PNG files."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ddpm_bench.errors import UserError
from ddpm_bench.files import replacing_folder
from ddpm_bench.images.sample_files import (
    dataset_files,
    is_prepared_dataset,
    open_sample_file,
    samples_of,
)
from ddpm_bench.records.layout import IMAGE_DIGITS


def images_to_export(
    paths: list[Path], count: int | None, split: str = "train"
) -> tuple[list[np.ndarray], int]:
    """Open files, folders of samples and prepared datasets; return arrays and the number of images.

    Arrays are memory-mapped, uint8 [n, H, W, C] each; `count` None: all images; split: of a
    dataset, train, eval or all. Raises UserError where a folder holds no complete set, images
    differ in shape, or there are fewer than `count`.
    """
    files = []
    for path in paths:
        if is_prepared_dataset(path):
            files += dataset_files(path, split)
        elif path.is_dir():
            files += samples_of(path)
        else:
            files.append(path)
    arrays = [open_sample_file(file) for file in files]
    for file, array in zip(files, arrays, strict=True):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise UserError(
                f"{file}: its images are {list(array.shape[1:])}, those of {files[0]} "
                f"{list(arrays[0].shape[1:])}; export them into folders of their own"
            )
    there = sum(map(len, arrays))
    if count is not None and not 0 < count <= there:
        raise UserError(f"--count {count}: there are {there} images; ask for 1 to {there}")
    return arrays, count or there


def export_images(arrays: list[np.ndarray], folder: Path, count: int) -> Iterator[int]:
    """Write the first `count` images as 000000.png, 000001.png, ...; yield each number written.

    The folder appears when all images are in it. Raises UserError when it exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is not empty; name a new folder, or remove what is in it")
    images = itertools.islice(itertools.chain.from_iterable(arrays), count)
    with replacing_folder(folder) as temporary:
        for number, image in enumerate(images):
            picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
            picture.save(temporary / f"{number:0{IMAGE_DIGITS}}.png")
            yield number
