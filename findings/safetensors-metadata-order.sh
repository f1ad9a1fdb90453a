#!/usr/bin/env bash
# Guess: the same tensors and the same metadata give the same bytes; the sha256 of a safetensors
# file names its content, and two nodes that save one checkpoint write one file.
# What happens (safetensors 0.8.0): tensors are sorted, so the order of their dict does not
# matter, but metadata with two keys or more is written in the random order of a hash map that is
# seeded anew at each call. With eight keys nearly every save has another sha256.
# Cause: `metadata: Option<HashMap<String, String>>` in safetensors/src/tensor.rs, serialised as
# it lies.
# Why it matters: checkpoints named or compared by checksum (a step, a config and a commit in the
# metadata) are "different" after every save. Put one key with a sorted JSON string there instead.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  safetensors==0.8.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import hashlib
import json
import sys

import numpy as np
import safetensors
from safetensors.numpy import save


def digests(make):
    return {hashlib.sha256(make()).hexdigest() for _ in range(20)}


a, b = np.zeros(3, np.float32), np.ones(2, np.float32)
metadata = {f"key{i}": str(i) for i in range(8)}
orders = {save({"a": a, "b": b}), save({"b": b, "a": a})}
several = digests(lambda: save({"a": a}, metadata=metadata))
one = digests(lambda: save({"a": a}, metadata={"all": json.dumps(metadata, sort_keys=True)}))
print("safetensors", safetensors.__version__)
print("tensors in two orders, different files:", len(orders))
print("eight metadata keys, 20 saves, different sha256:", len(several))
print("the same in one key of sorted JSON, different sha256:", len(one))
if not (len(orders) == 1 and len(several) > 1 and len(one) == 1):
    sys.exit("changed: the bytes of a file with several metadata keys no longer vary")
PYTHON
