"""Gray images of more than 8 bits, with a sign, or of floats: their numbers, as 0 to 255."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ddpm_bench.images.tiff import FLOAT, SIGNED, UNSIGNED, sample_format, white_is_zero

Range = tuple[float, float]  # the numbers that are black and white
SIXTEEN_BITS: Range = (0, 65535)
USUAL_RANGES: list[Range] = [(0, 1), *((0, 2**bits - 1) for bits in range(8, 17))]


@dataclass(frozen=True)
class GrayValues:
    """Numbers of a gray image, [H, W] of any type.

    range: the numbers that its format names as black and white; None if it names none.
    """

    numbers: np.ndarray
    range: Range | None
    white_is_zero: bool = False
    transparent: float | None = None

    def extent(self) -> Range | None:
        """Return the lowest and highest number; None if some are no numbers, or infinite."""
        low, high = float(self.numbers.min()), float(self.numbers.max())
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def gray_values(image: Image.Image) -> GrayValues | None:
    """Return the numbers of a loaded gray image; None for one of 8 bits without sign, or of colour.

    Unsigned integers of 12 and 16 bits span their type; of others no format says what is white.
    """
    if image.format == "TIFF":
        return _tiff_values(image)
    if image.mode != "F" and not image.mode.startswith("I"):
        return None
    # Pillow spreads gray values of a PGM, whatever its maximum is, over 16 bits.
    named = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
    transparent = image.info.get("transparency")
    return GrayValues(np.asarray(image), SIXTEEN_BITS if named else None, transparent=transparent)


def _tiff_values(image: Image.Image) -> GrayValues | None:
    """Return the numbers of a gray TIFF; None for one of 8 bits without sign, or of colour."""
    kind, bits = sample_format(image)
    gray = image.mode in ("L", "F") or image.mode.startswith("I")
    if not gray or (bits <= 8 and kind == UNSIGNED):
        return None
    numbers = np.asarray(image)
    if (kind, bits) == (FLOAT, 16):
        numbers = numbers.view(np.dtype(np.float16).newbyteorder(numbers.dtype.byteorder))
    elif (kind, bits) == (UNSIGNED, 32):
        numbers = numbers.view(np.uint32)
    elif (kind, bits) == (SIGNED, 8):
        numbers = numbers.view(np.int8)
    named = (0, 2**bits - 1) if kind == UNSIGNED and bits <= 16 else None
    return GrayValues(numbers, named, white_is_zero(image))


def spread(values: GrayValues, chosen: Range) -> Image.Image:
    """Return an image of mode F in which the numbers of a range lie evenly from 0 to 255.

    Numbers outside it keep their place below 0 or above 255.
    """
    black, white = reversed(chosen) if values.white_is_zero else chosen
    exact = np.float32 if values.numbers.dtype.kind == "f" else np.float64
    levels = values.numbers.astype(np.float32 if values.numbers.itemsize <= 2 else exact)
    levels -= black
    levels *= 255 / (white - black)
    if values.transparent is not None:
        levels[values.numbers == values.transparent] = 255
    return Image.fromarray(levels.astype(np.float32, copy=False))


def common_range(extents: Iterable[Range]) -> Range:
    """Return one range for images whose format names none, from the extents of all of them.

    It is 0 to 1, or 0 to the largest number of 8, 9, ... or 16 bits, the first that holds all
    numbers; else from the lowest number to the highest.
    """
    lows, highs = zip(*extents, strict=True)
    low, high = min(lows), max(highs)
    for black, white in USUAL_RANGES:
        if black <= low and high <= white:
            return black, white
    # Equal numbers become black, also such large ones that adding 1 does not change them.
    return low, max(high, low + 1, math.nextafter(low, math.inf))
