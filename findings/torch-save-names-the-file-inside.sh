#!/usr/bin/env bash
# Guess: the same state_dict saved as step100.pt and as step200.pt gives two equal files.
# What happens (torch 2.13.0 and 2.14.1): the file's own name, without its ending, is the folder
# name of every record in the archive, so that the two have different bytes and sha256, and even
# different lengths where the names differ in length. Saving under one name twice, or into a
# BytesIO, is equal to the byte.
# Cause: torch/serialization.py, _open_zipfile_writer_file hands the path to
# torch._C.PyTorchFileWriter, which takes the archive's name from it.
# Why it matters: checksums that are to show "nothing has changed" (a resumed run against an
# unbroken one, a checkpoint under its temporary and final name, deduplicated storage) differ for
# equal weights.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import torch

weights = {"weight": torch.arange(6.0)}


def saved(name):
    torch.save(weights, name)
    data = Path(name).read_bytes()
    return hashlib.sha256(data).hexdigest()[:12], len(data), zipfile.ZipFile(name).namelist()[0]


def in_memory():
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


print("torch", torch.__version__)
names = ("step100.pt", "step200.pt", "step1000000.tmp.pt", "step100.pt")
found = [saved(name) for name in names]
for name, (digest, length, first) in zip(names, found):
    print(f"{name}: sha256 {digest}, {length} bytes, first record {first}")
if found[0] == found[1] or found[0] != found[3] or in_memory() != in_memory():
    sys.exit("changed: the bytes of torch.save no longer depend on the file's name")
PYTHON
