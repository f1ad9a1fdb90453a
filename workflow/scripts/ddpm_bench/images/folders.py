"""Folders of images in their own size, neither resized nor cropped."""

import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ddpm_bench.errors import UserError
from ddpm_bench.files import obstacle
from ddpm_bench.images.gray_levels import gray_values
from ddpm_bench.images.opening import UnusableError, open_image
from ddpm_bench.machine.host import usable_cores
from ddpm_bench.text import counted

MOST_NAMED = 5  # files that cannot be scored


def read_images(files: list[Path], cpus: int) -> np.ndarray:
    """Read images of one shape as uint8 [N, H, W, C]; C is 1 when all of them are grayscale.

    They are written to a temporary file that is mapped into memory, so that many need no more
    memory than few. Raises UserError that names the files that cannot be read, have more than 8
    bits or transparent pixels, or are of another shape than the first.
    """
    rows = tempfile.TemporaryFile(prefix="ddpm-bench-", suffix=".images")  # noqa: SIM115
    gray = True
    with ThreadPoolExecutor(usable_cores(cpus)) as threads:
        shown = tqdm(threads.map(_image_or_problem, files), "reading", len(files), unit="image")
        for pixels, is_gray in _of_one_shape(files, shown):
            gray = gray and is_gray
            rows.write(pixels)
            shape = pixels.shape
    rows.flush()
    images = np.memmap(rows, np.uint8, "r", shape=(len(files), *shape))
    return images[..., :1] if gray else images


def _image_or_problem(path: Path) -> tuple[np.ndarray, bool] | UserError:
    try:
        return read_image(path)
    except UserError as problem:
        return problem


def _of_one_shape(
    files: list[Path], images: Iterable[tuple[np.ndarray, bool] | UserError]
) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield the images of one shape; raise UserError at the end that names all other files."""
    first: tuple[Path, tuple[int, ...]] | None = None
    problems = []
    for path, image in zip(files, images, strict=True):
        if isinstance(image, UserError):
            problems.append(str(image))
            continue
        first = first or (path, image[0].shape)
        if image[0].shape == first[1]:
            yield image
            continue
        (height, width, _), (first_height, first_width, _) = image[0].shape, first[1]
        problems.append(
            f"{path}: is {width}x{height} pixels and {first[0]} is {first_width}x{first_height}; "
            "images that are scored must be of one size: prepare or resize them"
        )
    if problems:
        more = len(problems) - MOST_NAMED
        named = "\n".join(problems[:MOST_NAMED])
        raise UserError(named + (f"\nand {counted(more, 'more file')}" if more > 0 else ""))


def read_image(path: Path) -> tuple[np.ndarray, bool]:
    """Read one image as uint8 [H, W, 3], upright as its EXIF asks, and whether it is grayscale."""
    if reason := obstacle(path):
        raise UserError(f"{path}: cannot be read as an image ({reason}); remove it")
    try:
        with path.open("rb") as file:
            image = open_image(file, lambda image: _check(path, image))
            if gray_values(image) is not None:
                raise _too_deep(path, image)
            image = _opaque(path, image)
            return np.asarray(image.convert("RGB")), image.mode in ("1", "L")
    except (UnusableError, OSError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path}: cannot be read as an image ({error}); make it again or remove it"
        ) from None


def _check(path: Path, image: Image.Image) -> None:
    """Raise UserError for an image of more than 8 bits, before it is decoded."""
    stored = " ".join(str(tile[3]) for tile in image.tile)  # it alone shows RGB of 16 bits
    if image.mode == "F" or image.mode.startswith("I") or ";16" in stored:
        raise _too_deep(path, image)


def _too_deep(path: Path, image: Image.Image) -> UserError:
    """Return the error for an image of more than 8 bits."""
    return UserError(
        f"{path}: has more than 8 bits a channel, or a sign (mode {image.mode}); scores are of "
        "images from 0 to 255: save it with 8 bits"
    )


def _opaque(path: Path, image: Image.Image) -> Image.Image:
    """Return the image without its alpha channel; raise UserError if any pixel is transparent."""
    if not image.has_transparency_data:
        return image
    gray = image.mode == "LA"
    image = image.convert("RGBA")
    if image.getextrema()[3][0] < 255:
        raise UserError(f"{path}: has transparent pixels; put it on a background, without alpha")
    return image.convert("L" if gray else "RGB")
