#!/usr/bin/env python
"""Compare the preparation of a folder of photographs with a loop around torchvision's transforms.

The peer is the loop that users write by hand: open each file with Pillow, convert it to RGB, apply
torchvision's antialiased Resize (bicubic) and CenterCrop, stack, np.save. This project's side does
all that a dataset of the workflow needs: decoding in several processes, checks, the split,
images.csv and the preview. Runs of both sides alternate.

The last line is one JSON object; `ratio` is the peer's seconds over this project's: above 1, this
project is faster.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))
from ddpm_bench.cli import local_path
from ddpm_bench.config.dataset import Folder, PrepareStage
from ddpm_bench.data.fetching import fetch
from ddpm_bench.data.preparing import prepare
from ddpm_bench.files import write_json


def by_hand(files: list[Path], size: int, output: Path) -> None:
    """Prepare photographs with the loop that users write."""
    # Not at the top: the decoding processes import this file, and do not need torchvision.
    from torchvision.transforms import v2

    bicubic = v2.InterpolationMode.BICUBIC
    transform = v2.Compose(
        [v2.Resize(size, interpolation=bicubic, antialias=True), v2.CenterCrop(size)]
    )
    images = []
    for file in files:
        with Image.open(file) as image:
            images.append(np.asarray(transform(image.convert("RGB"))))
    np.save(output / "train.npy", np.stack(images))


def ours(source: Folder, size: int, cpus: int, output: Path) -> None:
    """Fetch (with checksums of all files) and prepare, as the two rules of the workflow do."""
    marker = output / "fetched.json"
    write_json(marker, fetch(source, output / "unused"))
    stage = PrepareStage(version=1, kind="folder", include=source.include, image_size=size)
    prepare(stage, cpus, marker, output / "prepared")


def seconds(run, *arguments) -> float:
    """Return the seconds that a function takes, called with a temporary folder as last argument."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run(*arguments, Path(folder))
        return time.perf_counter() - began


def main() -> None:
    """Measure pairs of runs and print their ratio."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--images", type=local_path, required=True, help="folder of photographs")
    options.add_argument("--image-size", type=int, default=64, help="pixels (64)")
    options.add_argument("--pairs", type=int, default=5, help="interleaved pairs of runs (5)")
    args = options.parse_args()

    cpus = len(os.sched_getaffinity(0))
    source = Folder(kind="folder", path=str(args.images), include=["**/*.jpg"])
    files = sorted(args.images.rglob("*.jpg"))
    seconds(by_hand, files[:1], args.image_size)  # imports torchvision, which is not measured
    pairs = []
    for _ in range(args.pairs):
        peer = seconds(by_hand, files, args.image_size)
        pairs.append((peer, seconds(ours, source, args.image_size, cpus)))
    ratios = [peer / our for peer, our in pairs]
    result = {
        "comparison": "prepare",
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "seconds_ours": round(statistics.median(our for _, our in pairs), 3),
        "seconds_peer": round(statistics.median(peer for peer, _ in pairs), 3),
        "images": len(files),
        "image_size": args.image_size,
        "processes_ours": cpus,
        "processes_peer": 1,
        "pillow": importlib.metadata.version("pillow"),
        "torchvision": importlib.metadata.version("torchvision"),
        "machine": f"{cpus} cores, {platform.processor() or platform.machine()}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
