"""TIFF files: their pages, and layouts of gray samples beyond those that Pillow reads by itself.

The names of tags and their values are those of TIFF 6.0 and its Technical Note 1.
"""

from itertools import product
from typing import BinaryIO

import numpy as np
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    OPEN_INFO,
    PHOTOMETRIC_INTERPRETATION,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    ImageFileDirectory_v2,
    TiffImageFile,
)

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1
NEW_SUBFILE_TYPE, SUBFILE_TYPE, SUB_IFDS = 254, 255, 330
BIG_TIFF = 43
SMALLER_OR_MASK, OLD_SMALLER = 0b101, 2

# Gray samples by format and bits: Pillow's mode, and its names of their layout in a little-endian
# file, a big-endian one, and as libtiff returns them.
LAYOUTS = {
    (SIGNED, 8): ("L", "L", "L", "L"),
    (UNSIGNED, 12): ("I;16", "I;12", "I;12", "I;12"),
    (SIGNED, 16): ("I", "I;16S", "I;16BS", "I;16NS"),
    (UNSIGNED, 32): ("I", "I;32N", "I;32B", "I;32N"),
    (SIGNED, 32): ("I", "I;32S", "I;32BS", "I;32NS"),
    (FLOAT, 32): ("F", "F;32F", "F;32BF", "F;32NF"),
    (FLOAT, 64): ("F", "F;64F", "F;64BF", "F;64NF"),
}
NATIVE = {big: native for _, _, big, native in LAYOUTS.values()}


def read_more_layouts() -> None:
    """Add gray layouts that Pillow's decoders can read to its table of those that it reads.

    Pillow 13 lacks WhiteIsZero and big-endian variants, and floats of 16 and 64 bits. Floats of 16
    bits are read as bits, and become numbers in `gray_samples`.
    """
    for zero in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        for (kind, bits), (mode, little, big, _) in LAYOUTS.items():
            OPEN_INFO.setdefault((b"II", zero, (kind,), 1, (bits,), ()), (mode, little))
            OPEN_INFO.setdefault((b"MM", zero, (kind,), 1, (bits,), ()), (mode, big))
    for zero, kind in product((WHITE_IS_ZERO, BLACK_IS_ZERO), (UNSIGNED, FLOAT)):
        OPEN_INFO.setdefault((b"II", zero, (kind,), 1, (16,), ()), ("I;16", "I;16"))
        OPEN_INFO.setdefault((b"MM", zero, (kind,), 1, (16,), ()), ("I;16B", "I;16B"))


def full_pages(image: TiffImageFile) -> list[int]:
    """Return the first two pages that are neither a smaller version of another nor a mask."""
    found = []
    for page in range(image.n_frames):
        image.seek(page)
        smaller = image.tag_v2.get(NEW_SUBFILE_TYPE, 0) & SMALLER_OR_MASK
        if not smaller and image.tag_v2.get(SUBFILE_TYPE) != OLD_SMALLER:
            found.append(page)
        if len(found) == 2:
            break
    return found


def go_to_page(image: TiffImageFile, page: int) -> None:
    """Make a page the current one, and have it read in the byte order in which libtiff returns it.

    Pillow 13 swaps the bytes of compressed big-endian samples a second time if they have a sign or
    more than 16 bits.
    """
    image.seek(page)
    image.tile = [
        tile._replace(args=(NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))
        if tile.codec_name == "libtiff"
        else tile
        for tile in image.tile
    ]


def sample_format(image: TiffImageFile) -> tuple[int, int]:
    """Return the kind (UNSIGNED, SIGNED, FLOAT) and the number of bits of the first sample."""
    (kind, *_), (bits, *_) = (
        np.atleast_1d(image.tag_v2.get(tag, default))
        for tag, default in ((SAMPLEFORMAT, UNSIGNED), (BITSPERSAMPLE, 1))
    )
    return int(kind), int(bits)


def white_is_zero(image: TiffImageFile) -> bool:
    """Return whether the lowest number is white."""
    return image.tag_v2.get(PHOTOMETRIC_INTERPRETATION, BLACK_IS_ZERO) == WHITE_IS_ZERO


def unread_layout(file: BinaryIO) -> str | None:
    """Return the reason why a TIFF is not read, if it is the layout of its samples."""
    try:
        file.seek(0)
        header = file.read(16)
        tags = ImageFileDirectory_v2(header if header[2] == BIG_TIFF else header[:8])
        file.seek(tags.next)
        tags.load(file)
        bits, kinds = (np.atleast_1d(tags.get(tag, 1)) for tag in (BITSPERSAMPLE, SAMPLEFORMAT))
        key = (tags.prefix, tags.get(PHOTOMETRIC_INTERPRETATION, 0), tuple(map(int, kinds[:1])))
        if any(known[:3] == key and known[4] == tuple(map(int, bits)) for known in OPEN_INFO):
            return None
        samples = f"{tags.get(SAMPLESPERPIXEL, 1)} x {bits[0]} bits"
        kind = {UNSIGNED: "", SIGNED: ", signed", FLOAT: ", float"}.get(int(kinds[0]), ", complex")
    except Exception:  # broken tags raise errors of many types
        return None
    return f"TIFF of {samples}{kind}, which Pillow does not read: save it with 8 or 16 bits"
