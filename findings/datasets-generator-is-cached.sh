#!/usr/bin/env bash
# Guess: Dataset.from_generator runs the generator each time that it is called.
# What happens (datasets 5.2.0): the first result is kept on disk under a hash of the generator's
# code and arguments, and every later call, in later processes too, is answered from there. Images
# that were added to the folder which the generator reads are not in the dataset; nothing is said.
# load_dataset("imagefolder") on the same folder does notice them.
# Cause: datasets/io/generator.py over datasets/builder.py: the config's hash is of `generator`
# and `gen_kwargs`, and an existing cache folder is reused.
# Why it matters: a dataset grows or is cleaned, the training goes on with the old one, and the
# counts in the paper are of neither. Pass something that names the content (a checksum) as an
# argument.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  datasets==5.2.0 pillow==13.0.0 numpy==2.4.6
cat > read.py <<'PYTHON'
import os

os.environ.update(HF_HOME="cache", HF_HUB_OFFLINE="1")
import datasets
from PIL import Image

datasets.disable_progress_bars()


def rows():
    for name in sorted(os.listdir("images")):
        yield {"name": name}


def named_rows(content):
    yield from rows()


def add(numbers):
    for number in numbers:
        Image.new("RGB", (8, 8), (number, 0, 0)).save(f"images/{number}.png")


def counts():
    names = ",".join(sorted(os.listdir("images")))
    named = datasets.Dataset.from_generator(named_rows, gen_kwargs={"content": names})
    folder = datasets.load_dataset("imagefolder", data_dir="images", split="train")
    first = datasets.Dataset.from_generator(rows)
    return {"from_generator": len(first), "imagefolder": len(folder), "checksum": len(named)}
PYTHON
mkdir images
venv/bin/python -c 'import read as r; r.add(range(5)); print(r.counts()["from_generator"])' \
  > before.txt
venv/bin/python -c 'import read; read.add(range(5, 8))'
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import read

before, after = int(open("before.txt").read()), read.counts()
print("datasets", version("datasets"))
print(f"5 images: {before} by from_generator; 8 images, new process:", after)
if not (before == 5 and after == {"from_generator": 5, "imagefolder": 8, "checksum": 8}):
    sys.exit("changed: from_generator notices that the folder has changed")
PYTHON
