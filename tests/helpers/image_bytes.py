"""Bytes of TIFF, PNG and JPEG files that Pillow itself does not write."""

import struct
import zlib

import numpy as np

NEW_SUBFILE_TYPE, SUBFILE_TYPE, SUB_IFDS = 254, 255, 330
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS, COUNTS, SAMPLE_FORMAT = 273, 277, 278, 279, 339


def tiff(*pages, order="<"):
    """A TIFF with pages made by `page`, each linked to the next."""
    content = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    for number, (data, tags) in enumerate(pages):
        entries = dict(tags)
        start = len(content) + 2 + 12 * (len(entries) + 1) + 4  # of the values, after the entries
        lists = b"".join(
            struct.pack(f"{order}{len(values)}I", *values)
            for values in entries.values()
            if len(values) > 1
        )
        entries[OFFSETS] = [start + len(lists)]
        end = start + len(lists) + len(data)
        content += struct.pack(order + "H", len(entries))
        for tag, values in sorted(entries.items()):
            value = values[0] if len(values) == 1 else start
            start += 4 * len(values) * (len(values) > 1)
            content += struct.pack(order + "HHII", tag, 4, len(values), value)
        content += struct.pack(order + "I", end if number + 1 < len(pages) else 0) + lists + data
    return content


def page(values, order="<", bits=None, photometric=1, deflate=False):
    """The data and tags of a TIFF page: values [H, W] or [H, W, C] of any number type.

    bits: of a sample, if they are to be packed in fewer than the type has.
    """
    values = np.atleast_3d(values)
    height, width, samples = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    if bits is None:
        bits, data = values.dtype.itemsize * 8, values.astype(values.dtype.newbyteorder(order))
        data = data.tobytes()
    else:
        rows = values.reshape(height, -1).astype(">u4").view(np.uint8).reshape(height, -1, 4)
        unpacked = np.unpackbits(rows, axis=2)[..., -bits:].reshape(height, -1)
        data = np.packbits(unpacked, axis=1).tobytes()
    data = zlib.compress(data) if deflate else data
    entries = {
        **{WIDTH: [width], HEIGHT: [height], ROWS: [height], BITS: [bits] * samples},
        **{COMPRESSION: [8 if deflate else 1], PHOTOMETRIC: [photometric]},
        **{SAMPLES: [samples], COUNTS: [len(data)], SAMPLE_FORMAT: [kind] * samples},
    }
    return data, entries


def png(width, height, bits, colour, rows, *chunks, after=()):
    """A PNG of the given header and rows (bytes without filter type), with chunks around them."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), *chunks, (b"IDAT", data), *after, (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        content += struct.pack(">I", len(body)) + kind + body + checksum
    return content
