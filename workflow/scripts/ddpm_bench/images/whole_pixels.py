"""Files that Pillow refuses although their pixels are whole: oversized metadata, no end marker."""

import io
import random
from collections.abc import Callable, Iterator
from typing import BinaryIO

from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_METADATA = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
END = b"\xff\xd9"
RESTARTS = [bytes([0xFF, marker]) for marker in range(0xD0, 0xD8)]
# Data to go on with where a JPEG ends: pixels that depend on it are missing from the file.
MADE_UP = [random.Random(seed).randbytes(64).replace(b"\xff", b"") for seed in range(6)]
BASELINE_TO_PROGRESSIVE = (0xC0, 0xC1, 0xC2)
START_OF_SCAN = 0xDA


def without_metadata(file: BinaryIO) -> BinaryIO | None:
    """Return a PNG without its texts, XMP and colour profile; None if it has none of them.

    They are skipped and not read, whatever size they have or would unpack to.
    """
    file.seek(len(PNG_SIGNATURE))
    kept, dropped = io.BytesIO(), False
    kept.write(PNG_SIGNATURE)
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[:4], "big") + 4  # of its data and checksum
        if head[4:] in PNG_METADATA:
            file.seek(size, io.SEEK_CUR)
            dropped = True
        else:
            kept.write(head + file.read(size))
    kept.seek(0)
    return kept if dropped else None


def ends_in_a_zero(file: BinaryIO) -> bool:
    """Return whether the last byte of a file is zero; of a JPEG it may stand for missing data."""
    file.seek(-1, io.SEEK_END)
    return file.read(1) == b"\0"


def without_the_end(
    file: BinaryIO, decode: Callable[[BinaryIO], Image.Image]
) -> Image.Image | None:
    """Decode a JPEG without zeros at its end, or without the end marker; None if it lacks data.

    libjpeg takes zeros for data, and fills missing data with gray; it warns, but not through
    Pillow. Hence the image is decoded with several continuations, which give the same pixels only
    if none is decoded from them.
    """
    file.seek(0)
    content = file.read()
    data = content.rstrip(b"\0")  # some programs reserve space and fill it later
    if data.endswith(b"\xff"):  # the first half of the marker, or a byte that a zero must follow
        data = data[:-1] if data == content else data + b"\0"
    if data.endswith(END):
        return decode(io.BytesIO(data))
    if not _has_all_scans(data):
        return None
    image = decode(io.BytesIO(data + END))
    for more in _continuations(data):
        if decode(io.BytesIO(data + more + END)).tobytes() != image.tobytes():
            return None
    return image


def _continuations(data: bytes) -> Iterator[bytes]:
    """Yield data that may follow in a scan: made up, and after the next restart marker or first."""
    last = max(range(8), key=lambda number: data.rfind(RESTARTS[number]))
    for number, made_up in enumerate(MADE_UP):
        yield made_up + RESTARTS[(last + 1) % 8 if number % 2 else 0] + made_up


def _has_all_scans(content: bytes) -> bool:
    """Return whether the scans of a JPEG bring each coefficient to its last bit (T.81, B.2)."""
    position, missing = 2, {}
    while 0 <= (position := content.find(b"\xff", position)) < len(content) - 4:
        marker = content[position + 1]
        if marker == END[1]:  # what follows is no part of the image
            break
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # no segment
            position += 1 if marker == 0xFF else 2
            continue
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        segment = content[position + 4 : end]
        if marker in BASELINE_TO_PROGRESSIVE:
            missing = {component: set(range(64)) for component in segment[6::3]}
        elif marker == START_OF_SCAN:
            components = segment[1 : 1 + 2 * segment[0] : 2]
            first, last, bits = segment[-3:]
            for component in components if bits & 15 == 0 else ():
                missing[component] -= set(range(first, last + 1))
        position = end
    return bool(missing) and not any(missing.values())
