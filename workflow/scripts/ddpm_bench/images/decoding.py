"""Decoding of one image file, of any kind, into one square array of bytes.

Imports little: every decoding process imports it.
"""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms

from ddpm_bench import files
from ddpm_bench.images.gray_levels import Range, gray_values, spread
from ddpm_bench.images.opening import UnusableError, open_image

EMPTY = "empty file"
NOT_NUMBERS = "has values that are no numbers"


@dataclass(frozen=True)
class Square:
    """Form that every image is brought to, and the size above which an image is left out.

    value_range: numbers that become black and white in gray images of more than 8 bits or of
    floats; None takes those that the image's format names.
    """

    image_size: int
    channels: int
    max_megapixels: float = 100
    value_range: Range | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of one image in this form."""
        return self.image_size * self.image_size * self.channels


@dataclass(slots=True)
class DecodedFile:
    """Properties of a decoded file: size and mode as stored, and the reason if it is left out.

    extent: the lowest and highest number of an image that needs a value range and got none.
    """

    sha256: str = ""
    width: int | None = None
    height: int | None = None
    mode: str = ""
    left_out: str = ""
    extent: Range | None = None


class RangeNeededError(Exception):
    """An image whose format names no number as white, read without a value range."""

    def __init__(self, extent: Range) -> None:
        super().__init__(f"values from {extent[0]:g} to {extent[1]:g} need a value range")
        self.extent = extent


def read_square(path: Path, square: Square) -> tuple[DecodedFile, np.ndarray | None]:
    """Decode a file to uint8 [image_size, image_size, channels].

    None in its place when it is left out, or needs a value range: then `extent` is set. A broken or
    unreadable file raises nothing; running out of memory does.
    """
    outcome = DecodedFile()
    try:
        if reason := files.obstacle(path):
            raise UnusableError(f"cannot be read: {reason}")
        with path.open("rb") as file:
            outcome.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if file.tell() == 0:
                raise UnusableError(EMPTY)
            return outcome, _decode(file, square, outcome)
    except UnusableError as reason:
        outcome.left_out = str(reason)
    except RangeNeededError as needed:
        outcome.extent = needed.extent
    except OSError as error:
        outcome.left_out = f"cannot be read: {error.strerror}"
    return outcome, None


def _decode(file: BinaryIO, square: Square, outcome: DecodedFile) -> np.ndarray:
    """Decode an open file; raise UnusableError with the reason if that is impossible."""
    limit = int(square.max_megapixels * 1e6)

    def check(image: Image.Image) -> None:
        """Record an image's size and mode; raise UnusableError for one above the limit."""
        outcome.width, outcome.height, outcome.mode = *image.size, image.mode
        if image.width * image.height > limit:
            raise UnusableError(too_large(square))
        Image.MAX_IMAGE_PIXELS = limit  # for sizes that the header does not name, such as frames'

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata: only the pixels count
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = None  # `check` does that, once the size is recorded
        try:
            image = open_image(file, check)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise UnusableError(too_large(square)) from None
        try:
            return to_square(image, square)
        except ValueError:  # a mode that Pillow cannot convert
            raise UnusableError(f"unsupported mode {outcome.mode}") from None


def too_large(square: Square) -> str:
    """Return the reason for leaving out an image above the limit."""
    return f"larger than {square.max_megapixels:g} megapixels"


def to_square(image: Image.Image, square: Square) -> np.ndarray:
    """Convert the centred square of an image to uint8 [image_size, image_size, channels].

    Any mode of Pillow that can be converted is taken. Raises RangeNeededError for numbers of which
    neither `square` nor the format names a range.
    """
    gray = gray_values(image)
    if gray is None:
        image = _centre(_opaque(image), square.image_size)
    else:
        if (extent := gray.extent()) is None:
            raise UnusableError(NOT_NUMBERS)
        chosen = square.value_range or gray.range
        if chosen is None:
            raise RangeNeededError(extent)
        image = _centre(spread(gray, chosen), square.image_size)
        image = Image.fromarray(np.asarray(image).round().clip(0, 255).astype(np.uint8))
    pixels = np.asarray(image.convert("L" if square.channels == 1 else "RGB"))
    return pixels.reshape(square.image_size, square.image_size, square.channels)


def _centre(image: Image.Image, image_size: int) -> Image.Image:
    """Resize the short side to `image_size` and crop the centre, in one antialiased pass.

    The crop begins at a whole pixel, so that an image of the right size is not blurred.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize(
        (image_size, image_size),
        Image.Resampling.LANCZOS,
        box=(left, top, left + side, top + side),
    )


def _opaque(image: Image.Image) -> Image.Image:
    """Convert an image of 8 bits or fewer to L or RGB, with transparent parts over white."""
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(*profiles, "LAB", "RGB")
        return ImageCms.applyTransform(image, transform)
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def as_image(pixels: np.ndarray) -> Image.Image:
    """Convert uint8 [H, W, C] to a Pillow image: L for one channel, RGB for three."""
    return Image.fromarray(
        np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    )


def is_grayscale(mode: str) -> bool:
    """Return whether images of this Pillow mode have no colour."""
    return mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")
