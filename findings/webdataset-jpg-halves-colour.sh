#!/usr/bin/env bash
# Guess: TarWriter writes `jpg` at quality 100, its documented choice, so that what is read back
# is within a grey level or two of the image.
# What happens (webdataset 1.0.2, pillow 13.0.0): quality is 100, but the chroma is stored at half
# resolution (4:2:0). On an image with fine colour the root of the mean squared error is many
# times that of the same quality without subsampling; the file is large and the loss is still
# there.
# Cause: webdataset/writer.py, imageencoder passes quality=100 and no subsampling; Pillow's
# default is 4:2:0 at every quality.
# Why it matters: a dataset repacked into shards "at quality 100" has lost colour detail that
# networks learn and FID sees, once more at each repacking. Write png, or encode the bytes with
# subsampling=0.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  webdataset==1.0.2 numpy==2.4.6 pillow==13.0.0
venv/bin/python - <<'PYTHON'
import io
import sys
from importlib.metadata import version

import numpy as np
import webdataset
from PIL import Image

random = np.random.default_rng(0)
coarse = random.integers(40, 215, (64, 64, 3), dtype=np.uint8)
image = np.asarray(Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC))
with webdataset.TarWriter("shard.tar") as shard:
    shard.write({"__key__": "0", "jpg": image, "png": image})
sample = next(iter(webdataset.WebDataset("shard.tar", shardshuffle=False)))
buffer = io.BytesIO()
Image.fromarray(image).save(buffer, "JPEG", quality=100, subsampling=0)


def error(data):
    difference = np.asarray(Image.open(io.BytesIO(data)), float) - image
    return float(np.sqrt((difference**2).mean()))


written, full, png = error(sample["jpg"]), error(buffer.getvalue()), error(sample["png"])
print("webdataset", version("webdataset"), "pillow", version("pillow"))
print(f"jpg by TarWriter: {written:.2f} grey levels RMS, {len(sample['jpg'])} bytes")
print(f"quality 100 without subsampling: {full:.2f}, png: {png:.2f}")
if not (written > 5 * full and png == 0):
    sys.exit("changed: TarWriter's jpg keeps the colour resolution")
PYTHON
