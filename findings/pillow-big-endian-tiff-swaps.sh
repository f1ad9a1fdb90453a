#!/usr/bin/env bash
# Guess: a TIFF gives the same numbers whether it is compressed or not, big-endian or not; and one
# whose white is zero (PhotometricInterpretation 0) is shown as it is meant, at any depth.
# What happens (Pillow 13.0.0): the bytes of compressed big-endian floats, int32 and int16 are
# swapped twice: 1.0 comes back as 4.6e-41, 1 as 16777216, without an error. 16 bits whose white is
# zero come back as a negative; 8 bits do not.
# Cause: PIL/TiffImagePlugin.py, TiffImageFile._setup: libtiff returns native order, but only the
# layouts I;16 and those that end in ;16B are renamed for it, not F;32BF, I;32BS, I;16BS. OPEN_INFO
# inverts the layouts L;I, L;4I, L;2I and 1;I, and has plain I;16 for 16 bits.
# Why it matters: scientific TIFFs are often big-endian (those of ImageJ are). Once compressed, a
# loader that scales each image by its own range makes noise of the right shape and range of them.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image

ramp = np.arange(256).reshape(16, 16)


def read(values, **options):
    """The numbers that Pillow and tifffile read from a file that tifffile writes."""
    tifffile.imwrite("image.tif", values, **options)
    return np.asarray(Image.open("image.tif")), tifffile.imread("image.tif")


print("Pillow", PIL.__version__, "tifffile", tifffile.__version__)
swapped = []
for kind in ("f4", "i4", "i2"):
    for order in "<>":
        for compression in (None, "zlib"):
            pillow, other = read(ramp.astype(kind), byteorder=order, compression=compression)
            assert np.array_equal(other, ramp)
            right = np.array_equal(pillow, ramp)
            print(f"{kind} {order} {compression}: 1 is read as {pillow[0, 1]!r}, right: {right}")
            swapped.append(not right)
            assert right or (order == ">" and compression), "another layout is wrong"
white_first = [
    read((ramp * factor).astype(kind), photometric="miniswhite")[0][0, 0] > 0
    for kind, factor in (("u1", 1), ("u2", 257))
]
print("white is zero, shown white: 8 bits", white_first[0], "16 bits", white_first[1])
if sum(swapped) != 3 or white_first != [True, False]:
    sys.exit("changed: Pillow reads compressed big-endian numbers, or 16-bit WhiteIsZero, as meant")
PYTHON
