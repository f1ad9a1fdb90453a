"""Random Inception weights, calibrated on photographs, for tests without the published file."""

import argparse
import functools
import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow" / "scripts"))

from ddpm_bench.gpu_check.untrained_networks import calibrated_inception

CALIBRATION_IMAGES = 24


def photographs(folder: Path, count: int, size: int = 64, suffix: str = ".jpg") -> np.ndarray:
    """`count` images spread over the files under `folder`: uint8 [count, size, size, 3]."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() == suffix)
    if len(files) < count:
        raise SystemExit(f"{folder}: holds {len(files)} {suffix} files; {count} are needed")
    chosen = [files[index * len(files) // count] for index in range(count)]
    return np.stack([_square(file, size) for file in chosen])


def _square(file: Path, size: int) -> np.ndarray:
    with Image.open(file) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


@functools.cache
def calibrated_weights(folder: Path, seed: int = 0) -> bytes:
    """A file of weights in torch-fidelity's layout, calibrated on photographs under `folder`."""
    pixels = torch.from_numpy(photographs(folder, CALIBRATION_IMAGES)).permute(0, 3, 1, 2)
    return calibrated_inception(pixels, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder with JPEG files")
    parser.add_argument("--output", type=Path, required=True, help=".pth file to write")
    given = parser.parse_args()
    content = calibrated_weights(given.images)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_bytes(content)
    print(hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
