"""Decoding of one image file, of any kind, into one square array of bytes.

Imports little: every decoding process imports it.
"""

import functools
import hashlib
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms

from ddpm_bench import files

# Raster formats whose decoders are part of Pillow. Document formats are left out: some would start
# another program (EPS starts Ghostscript). Pillow's JPEG includes MPO.
FORMATS = (
    *("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000"),
    *("TGA", "PCX", "SGI", "QOI"),
)
SIXTEEN_BITS = 65535

EMPTY = "empty file"
LFS_POINTER = "Git LFS pointer, not the file itself"
NOT_AN_IMAGE = "not an image of a known format"
BROKEN = "broken or truncated image"
ANIMATED = "animated: more than one frame"
NOT_NUMBERS = "has values that are no numbers"
EXIF_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Square:
    """Form that every image is brought to, and the size above which an image is left out."""

    image_size: int
    channels: int
    max_megapixels: float = 100

    @property
    def row_bytes(self) -> int:
        """Bytes of one image in this form."""
        return self.image_size * self.image_size * self.channels


@dataclass(slots=True)
class DecodedFile:
    """Properties of a decoded file: size and mode as stored, and the reason if it is left out."""

    sha256: str = ""
    width: int | None = None
    height: int | None = None
    mode: str = ""
    left_out: str = ""


class UnusableError(Exception):
    """Reason why an image cannot be used.

    The message stands in images.csv, and is the same text for all images with this reason.
    """


def read_square(path: Path, square: Square) -> tuple[DecodedFile, np.ndarray | None]:
    """Decode a file to uint8 [image_size, image_size, channels]; None when it is left out.

    A broken or unreadable file raises nothing; running out of memory does.
    """
    outcome = DecodedFile()
    try:
        if reason := files.obstacle(path):
            raise UnusableError(f"cannot be read: {reason}")
        with path.open("rb") as file:
            outcome.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            if file.tell() == 0:
                raise UnusableError(EMPTY)
            file.seek(0)
            return outcome, _decode(file, square, outcome)
    except UnusableError as reason:
        outcome.left_out = str(reason)
    except OSError as error:
        outcome.left_out = f"cannot be read: {error.strerror}"
    return outcome, None


def _decode(file: BinaryIO, square: Square, outcome: DecodedFile) -> np.ndarray:
    """Decode an open file; raise UnusableError with the reason if that is impossible."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata: only the pixels count
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = upright(_open(file, square, outcome))
        except (UnusableError, MemoryError):
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise UnusableError(too_large(square)) from None
        except Exception:  # Pillow's decoders raise many types of errors for broken files
            file.seek(0)
            if file.read(24).startswith(b"version https://git-lfs"):
                raise UnusableError(LFS_POINTER) from None
            raise UnusableError(BROKEN if outcome.mode else NOT_AN_IMAGE) from None
        try:
            return to_square(image, square)
        except ValueError:  # a mode that Pillow cannot convert
            raise UnusableError(f"unsupported mode {outcome.mode}") from None


def _open(file: BinaryIO, square: Square, outcome: DecodedFile) -> Image.Image:
    """Open and load an image; raise UnusableError before its pixels are decoded if it is not used.

    A JPEG is decoded in full. Pillow's two short cuts for large ones (draft and reducing_gap) are
    up to four times faster, but moved pixels of photographs by up to 35 and 11 grey levels.
    """
    Image.MAX_IMAGE_PIXELS = None  # the size is checked below, once it is recorded
    image = Image.open(file, formats=formats())
    outcome.width, outcome.height, outcome.mode = *image.size, image.mode
    limit = int(square.max_megapixels * 1e6)
    if image.width * image.height > limit:
        raise UnusableError(too_large(square))
    Image.MAX_IMAGE_PIXELS = limit  # for sizes that the header does not name, such as frames'
    if has_several_frames(image):
        raise UnusableError(ANIMATED)
    image.load()
    return image


def has_several_frames(image: Image.Image) -> bool:
    """Return whether an opened image is animated; an MPO is a photograph with its previews."""
    return getattr(image, "n_frames", 1) > 1 and image.format != "MPO"


@functools.cache
def formats() -> tuple[str, ...]:
    """Return the names of the formats that this Pillow can decode."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # AVIF is new in Pillow 11.3


def too_large(square: Square) -> str:
    """Return the reason for leaving out an image above the limit."""
    return f"larger than {square.max_megapixels:g} megapixels"


def upright(image: Image.Image) -> Image.Image:
    """Return the image turned and mirrored as its EXIF asks.

    EXIF that cannot be read is ignored.
    """
    try:
        turn = TURNS.get(image.getexif().get(EXIF_ORIENTATION))
    except Exception:  # broken EXIF raises errors of many types
        turn = None
    return image if turn is None else image.transpose(turn)


def to_square(image: Image.Image, square: Square) -> np.ndarray:
    """Convert the centred square of an image to uint8 [image_size, image_size, channels].

    Any mode of Pillow that can be converted is taken.
    """
    deep = image.mode == "F" or image.mode.startswith("I")
    image = _centre(_spread(image) if deep else _opaque(image), square.image_size)
    if deep:
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


def _spread(image: Image.Image) -> Image.Image:
    """Convert an image of 16 or 32 bits to mode F, its grey levels spread over 0 to 255."""
    values = np.asarray(image)
    black, white = _levels(image.mode, values)
    spread = (values.astype(np.float32) - black) * (255 / (white - black))
    if "transparency" in image.info:
        spread[values == image.info["transparency"]] = 255
    return Image.fromarray(spread)


def _levels(mode: str, values: np.ndarray) -> tuple[float, float]:
    """Return the values that are black and white in an image of 16 or 32 bits.

    Modes I;16 have 16 bits. Mode I is read as 16 bits too if the values fit. Mode F is read as
    0..1, 0..255 or 16 bits, whichever is the first that fits. Other values have no agreed meaning:
    their own range is spread.
    """
    if mode.startswith("I;16"):
        return 0, SIXTEEN_BITS
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UnusableError(NOT_NUMBERS)
    for white in (SIXTEEN_BITS,) if mode == "I" else (1, 255, SIXTEEN_BITS):
        if low >= 0 and high <= white:
            return 0, white
    return low, max(high, low + 1)


def as_image(pixels: np.ndarray) -> Image.Image:
    """Convert uint8 [H, W, C] to a Pillow image: L for one channel, RGB for three."""
    return Image.fromarray(
        np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    )


def is_grayscale(mode: str) -> bool:
    """Return whether images of this Pillow mode have no colour."""
    return mode in ("1", "L", "LA", "La", "F") or mode.startswith("I")
