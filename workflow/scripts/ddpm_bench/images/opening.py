"""Opening and decoding of one image file of any kind, by Pillow.

Imports little: every decoding process imports it.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from ddpm_bench.errors import UserError
from ddpm_bench.files import obstacle
from ddpm_bench.images.tiff import (
    SUB_IFDS,
    full_pages,
    go_to_page,
    read_more_layouts,
    unread_layout,
)
from ddpm_bench.images.whole_pixels import ends_in_a_zero, without_metadata, without_the_end

# Raster formats whose decoders are part of Pillow. Document formats are left out: some would start
# another program (EPS starts Ghostscript). Pillow's JPEG includes MPO.
FORMATS = (
    *("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "PPM", "JPEG2000"),
    *("TGA", "PCX", "SGI", "QOI"),
)
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
JPEG_START = b"\xff\xd8\xff"
START = 32  # bytes, by which the kind of a file is recognised

LFS_POINTER = "Git LFS pointer, not the file itself"
NOT_AN_IMAGE = "not an image of a known format"
NEEDS_HEIF = "HEIC image: it is read once pillow-heif is installed (pip install pillow-heif)"
NEEDS_AVIF = "AVIF image: it is read by Pillow 11.3 and newer"
BROKEN = "broken or truncated image"
ANIMATED = "animated: more than one frame"
THUMBNAIL_ONLY = "only its thumbnail is readable: the image lies in a sub-IFD of the TIFF"
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
# Largest value of gray PNGs of fewer than 8 bits, by the name of their layout in Pillow.
GRAY_OF_FEW_BITS = {"L;2": 3, "L;4": 15}


class UnusableError(Exception):
    """Reason why an image cannot be used.

    The message stands in images.csv, and is the same text for all images with this reason.
    """


@functools.cache
def formats() -> tuple[str, ...]:
    """Return the names of the formats that this Pillow can decode."""
    Image.init()
    read_more_layouts()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # AVIF is new in Pillow 11.3


@functools.cache
def heif() -> tuple[str, ...]:
    """Return the name of the HEIF format, which Pillow then reads; none without pillow-heif.

    The package is imported for the first such file only, because that takes a while.
    """
    try:
        import pillow_heif
    except ImportError:
        return ()
    pillow_heif.register_heif_opener(
        thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
    )
    return ("HEIF",)


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the suffixes of image files, in lower case; those of HEIF in every environment."""
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in formats()}
    return frozenset(known) | {".mpo", ".heic", ".heif", ".hif"}


def is_image(path: Path) -> bool:
    """Return whether a file has the name or the start of an image of a known format."""
    if path.suffix.lower() in suffixes():
        return True
    if obstacle(path):
        return False
    try:
        with path.open("rb") as file:
            start = _start(file)
            if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
                return True
            Image.open(file, formats=[name for name in formats() if name != "TGA"]).close()
    except Exception:  # Pillow's decoders raise many types of errors
        return False
    return True


def open_image(file: BinaryIO, check: Callable[[Image.Image], None]) -> Image.Image:
    """Decode an open file to an upright image, after `check` has seen its size and mode.

    `check` may raise UserError or UnusableError before any pixel is decoded. Errors of Pillow
    become UnusableError with the reason, apart from those about the size ("bomb"). Only pixels
    count: metadata that is broken or too large for Pillow, and a missing end marker of a JPEG, are
    no reason. A JPEG is decoded in full: Pillow's two short cuts for large ones (draft and
    reducing_gap) are up to four times faster, but moved pixels of photographs by up to 35 and 11
    grey levels.
    """
    leave = (UserError, UnusableError, MemoryError, Image.DecompressionBombWarning)
    try:
        return _decode(file, check)
    except (*leave, Image.DecompressionBombError):
        raise
    except Exception as error:  # Pillow's decoders raise many types of errors for broken files
        start = _start(file)
        try:
            if (image := _second_try(file, start, check)) is not None:
                return image
        except leave:
            raise
        except Exception:
            pass
        raise UnusableError(_reason(file, start)) from error


def _start(file: BinaryIO) -> bytes:
    """Return the first bytes of a file."""
    file.seek(0)
    return file.read(START)


def _decode(file: BinaryIO, check: Callable[[Image.Image], None]) -> Image.Image:
    """Open and decode an image, and turn it upright."""
    start = _start(file)
    if start.startswith(JPEG_START) and ends_in_a_zero(file):
        raise ValueError("zeros may stand for missing data")
    more = heif() if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS else ()
    image = Image.open(file, formats=(*formats(), *more))
    pages = full_pages(image) if image.format == "TIFF" else None
    if pages is not None:
        if not pages and SUB_IFDS in image.tag_v2:
            raise UnusableError(THUMBNAIL_ONLY)
        go_to_page(image, pages[0] if pages else 0)
    check(image)
    if len(pages) > 1 if pages is not None else _is_animated(image):
        raise UnusableError(ANIMATED)
    _scale_transparent_gray(image)
    image.load()
    return _upright(image, file)


def _is_animated(image: Image.Image) -> bool:
    """Return whether an opened image has frames of one rank.

    Files of the formats MPO and HEIF name one image as theirs; others are previews and exposures.
    """
    return getattr(image, "n_frames", 1) > 1 and image.format not in ("MPO", "HEIF")


def _scale_transparent_gray(image: Image.Image) -> None:
    """Scale the transparent colour of a PNG as Pillow scales its pixels: to 8 bits."""
    clear, layout = image.info.get("transparency"), image.tile[0][3] if image.tile else None
    if image.format != "PNG" or clear is None:
        return
    if layout in GRAY_OF_FEW_BITS:
        image.info["transparency"] = clear * 255 // GRAY_OF_FEW_BITS[layout]
    elif layout == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in clear)


def _upright(image: Image.Image, file: BinaryIO) -> Image.Image:
    """Return the image turned and mirrored as its file asks; EXIF that cannot be read is ignored.

    In HEIF and AVIF the container's own turn counts, which is applied by then, and EXIF only
    repeats it (ISO/IEC 23000-22). A HEIF file that neither has such a turn nor follows that
    standard is turned as its EXIF asks.
    """
    try:
        turn = image.getexif().get(EXIF_ORIENTATION)
        if image.format == "HEIF" and image.info["original_orientation"] not in (None, 1):
            file.seek(0)
            content = file.read()
            if not any(name in content for name in (b"miaf", b"irot", b"imir")):
                turn = image.info["original_orientation"]
    except Exception:  # broken EXIF raises errors of many types
        turn = None
    return image.transpose(TURNS[turn]) if turn in TURNS else image


def _second_try(
    file: BinaryIO, start: bytes, check: Callable[[Image.Image], None]
) -> Image.Image | None:
    """Decode an image that is refused although its pixels are whole; None if they are not."""
    if start.startswith(b"\x89PNG") and (pixels := without_metadata(file)) is not None:
        return _decode(pixels, check)
    if start.startswith(JPEG_START):
        return without_the_end(file, lambda content: _decode(content, check))
    return None


def _reason(file: BinaryIO, start: bytes) -> str:
    """Return the reason why Pillow refuses a file."""
    if start.startswith(b"version https://git-lfs"):
        return LFS_POINTER
    if start[4:8] == b"ftyp":
        if start[8:12] in HEIF_BRANDS and not heif():
            return NEEDS_HEIF
        if start[8:12] in AVIF_BRANDS and "AVIF" not in formats():
            return NEEDS_AVIF
    if start[8:12] in (b"WEBP", *HEIF_BRANDS, *AVIF_BRANDS):
        return BROKEN
    if start[:2] in (b"II", b"MM") and (layout := unread_layout(file)):
        return layout
    try:
        file.seek(0)
        Image.open(file, formats=(*formats(), *heif()))
    except Exception:
        return NOT_AN_IMAGE
    return BROKEN
