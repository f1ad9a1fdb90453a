#!/usr/bin/env bash
# Guess: one volume resampled to 3 mm by MONAI, torchio or nibabel gives arrays of one shape whose
# first voxels lie at one place, up to interpolation.
# What happens (monai 1.6.1, torchio 1.2.1, nibabel 5.4.2): from 20 voxels of 1 mm they make 7, 6
# and 8 voxels of 3 mm. MONAI's Spacing and nibabel keep the centre of the first voxel, torchio
# the middle of the volume, MONAI's own Resize the outer corner: first voxels at 0, 0, 2 and 0.93
# mm in each axis. nibabel's last voxel lies outside and is 0. Each is right in its own affine,
# which an array does not carry.
# Cause: monai/transforms/spatial/array.py (Spacing, Resize),
# torchio/transforms/preprocessing/spatial/resample.py, nibabel/processing.py, resample_to_output
# over spaces.vox2out_vox.
# Why it matters: training volumes prepared by one tool and masks, references or samples by
# another are shifted by two thirds of a voxel: blurred edges, lower MS-SSIM and Dice, nothing in
# the log.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  monai==1.6.1 torchio==1.2.1 nibabel==5.4.2 scipy==1.17.1 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

import nibabel
import nibabel.processing
import numpy as np
import torch
import torchio
from monai.data import MetaTensor
from monai.transforms import Resize, Spacing

affine = np.diag([1.0, 1.0, 1.0, 1.0])
ramp = np.broadcast_to(np.arange(20, dtype=np.float32)[:, None, None], (20, 20, 20)).copy()
tensor = torch.from_numpy(ramp)[None]
size = (3.0, 3.0, 3.0)


def monai_(transform):
    result = transform(MetaTensor(tensor, affine=torch.from_numpy(affine)))
    return result[0].numpy(), result.affine.numpy()


def torchio_():
    result = torchio.Resample(3.0)(torchio.ScalarImage(tensor=tensor, affine=affine))
    return result.data[0].numpy(), np.asarray(result.affine)


def nibabel_():
    image = nibabel.Nifti1Image(ramp, affine)
    result = nibabel.processing.resample_to_output(image, size, order=1)
    return result.get_fdata(), result.affine


results = {
    "monai Spacing": monai_(Spacing(pixdim=size)),
    "monai Resize(7)": monai_(Resize((7, 7, 7), mode="trilinear")),
    "torchio Resample": torchio_(),
    "nibabel resample_to_output": nibabel_(),
}
print(*(f"{name} {version(name)}" for name in ("monai", "torchio", "nibabel")))
for name, (array, grid) in results.items():
    row = array[:, 3, 3].round(2)
    print(f"{name}: {array.shape}, first voxel at {grid[0, 3]:.2f} mm, values {row}")
shapes = {array.shape[0] for name, (array, _) in results.items() if "Resize" not in name}
first = {name.split()[0]: float(array[0, 3, 3]) for name, (array, _) in results.items()}
if not (shapes == {6, 7, 8} and abs(results["torchio Resample"][1][0, 3] - 2) < 1e-6):
    sys.exit("changed: MONAI, torchio and nibabel resample to one grid")
PYTHON
