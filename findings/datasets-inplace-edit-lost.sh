#!/usr/bin/env bash
# Guess: a function for Dataset.map that changes the image in place (thumbnail, paste, draw) and
# returns it stores the changed image, as one that returns a new image does.
# What happens (datasets 5.2.0): an image that still has the filename that it was opened from is
# stored as that path, and the pixels are dropped. `thumbnail` to 64 pixels leaves 256, a masked
# corner is unmasked; `resize` (a new image) is stored as it should be. No warning.
# Cause: datasets/features/image.py, encode_pil_image: `if image.filename != "": return {"path":
# ..., "bytes": None}`.
# Why it matters: cropped borders, removed watermarks and masked faces are back in the training
# set, or images have their old size. Return image.copy() after the edit.
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
from importlib.metadata import version

os.environ.update(HF_HOME="cache", HF_HUB_OFFLINE="1")
import datasets
import numpy as np
from PIL import Image

datasets.disable_progress_bars()
os.mkdir("images")
for number in range(2):
    Image.fromarray(np.full((256, 256, 3), 200, np.uint8)).save(f"images/{number}.png")
images = datasets.load_dataset("imagefolder", data_dir="images", split="train")


def thumbnail(row):
    row["image"].thumbnail((64, 64))
    return {"image": row["image"]}


def mask(row):
    row["image"].paste((0, 0, 0), (0, 0, 128, 128))
    return {"image": row["image"]}


def resize(row):
    return {"image": row["image"].resize((64, 64))}


small = images.map(thumbnail)[0]["image"].size
masked = images.map(mask)[0]["image"].getpixel((5, 5))
resized = images.map(resize)[0]["image"].size
print("datasets", version("datasets"))
print("thumbnail to 64:", small, "resize to 64:", resized, "pixel under the black mask:", masked)
if not (small == (256, 256) and resized == (64, 64) and masked == (200, 200, 200)):
    sys.exit("changed: Dataset.map keeps what was changed in place")
PYTHON
