#!/usr/bin/env bash
# Guess: a volume of float32 is saved as float32; the header that is handed on from the dataset
# gives orientation and voxel size.
# What happens (nibabel 5.4.2): the header's data type outranks the array's. Made with the header
# of a uint8 template, a float volume is scaled to at most 256 levels, and integer labels in a
# float array do not come back equal: 1 reads as 0.988, so that `labels == 1` is empty. No
# warning.
# Cause: nibabel/spatialimages.py, SpatialImage.__init__ takes the array's dtype only where no
# header is given; nibabel/arraywriters.py then fits slope and intercept.
# Why it matters: generated volumes are saved with the affine and header of the training set,
# which is often 8-bit; scores and label volumes read from those files are of other data. Hand on
# the affine only, or call set_data_dtype.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  nibabel==5.4.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import nibabel
import numpy as np

random = np.random.default_rng(0)
template = nibabel.Nifti1Image(random.integers(0, 200, (16, 16, 16)).astype(np.uint8), np.eye(4))


def reread(array, header=None):
    image = nibabel.Nifti1Image(array, template.affine, header)
    return nibabel.Nifti1Image.from_bytes(image.to_bytes())


sample = random.normal(0.3, 0.1, (16, 16, 16)).astype(np.float32)
labels = np.array([0, 1, 2, 3, 7], np.float32).reshape(5, 1, 1)
plain, handed_on = reread(sample), reread(sample, template.header)
levels = len(np.unique(handed_on.get_fdata()))
error = np.abs(handed_on.get_fdata() - sample).max()
labels_read = reread(labels, template.header).get_fdata().ravel()
print("nibabel", nibabel.__version__)
print("saved without a header:", plain.get_data_dtype())
print("with the template's:", handed_on.get_data_dtype(), levels, "levels, error up to", error)
print("labels 0 1 2 3 7 read back:", labels_read, "equal to 1:", int((labels_read == 1).sum()))
kept = np.array_equal(plain.get_fdata(), sample)
if not (kept and levels <= 256 and error > 1e-4 and (labels_read == 1).sum() == 0):
    sys.exit("changed: float data saved with an integer template's header keep their values")
PYTHON
