#!/usr/bin/env bash
# Guess: an array of uint16 with three channels is stored as 16 bits, or scaled to 8, or refused.
# What happens (datasets 5.2.0): its Image feature casts to uint8, so that values wrap modulo 256:
# 65535 becomes 255, 256 becomes 0, a smooth ramp becomes 256 saw teeth. One warning about
# "downcasting" is all. One channel of uint16 is kept; float32 with three channels is refused.
# Cause: datasets/features/image.py, encode_np_array looks for a smaller dtype of the same kind
# and calls array.astype.
# Why it matters: 16-bit photographs, microscopy and multi-echo MRI slices with three channels
# become noise with the right shape and range, which a network will learn. Divide by 257 first.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import os
import sys
import warnings
from importlib.metadata import version

os.environ.update(HF_HOME="cache", HF_HUB_OFFLINE="1")
import numpy as np
from datasets import Dataset, Features, Image

ramp = np.linspace(0, 65535, 256 * 256).astype(np.uint16).reshape(256, 256)


def stored(array):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = Dataset.from_dict({"image": [array]}, features=Features({"image": Image()}))
    return np.asarray(rows[0]["image"]), [str(w.message) for w in caught]


gray, _ = stored(ramp)
colour, said = stored(np.stack([ramp] * 3, -1))
wanted = (ramp // 257).astype(np.uint8)
wrapped = np.array_equal(colour[..., 0], (ramp % 256).astype(np.uint8))
print("datasets", version("datasets"))
print("one channel:", gray.dtype, "equal:", np.array_equal(gray, ramp))
print("three channels:", colour.dtype, "equal to the values modulo 256:", wrapped, said)
print("correlation with the image:", np.corrcoef(colour[..., 0].ravel(), wanted.ravel())[0, 1])
if not (np.array_equal(gray, ramp) and wrapped):
    sys.exit("changed: three channels of uint16 no longer wrap modulo 256")
PYTHON
