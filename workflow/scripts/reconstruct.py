#!/usr/bin/env python
"""Let a checkpoint of an autoencoder give images back: the images, their errors, its codes' use."""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.autoencoder import ReconstructStage
from ddpm_bench.config.training import TrainRun
from ddpm_bench.files import replacing, write_json
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.machine.host import usable_cores


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--what", type=keys(ReconstructStage), required=True, help="keys, JSON or @file"
    )
    options.add_argument(
        "--how", type=keys(TrainRun), default="{}", help="the training's run: block; of it cpus"
    )
    options.add_argument("--manifest", type=Path, required=True, help="of the training job, JSON")
    options.add_argument("--step", type=int, required=True, help="the checkpoint's training step")
    options.add_argument("--images", type=Path, required=True, help="uint8 [N, H, W, C], .npy")
    options.add_argument("--output", type=Path, required=True, help="uint8 [n, H, W, C], .npy")
    options.add_argument("--summary", type=Path, required=True, help="errors and codes, JSON")
    args = options.parse_args()
    with lease(1):
        give_back(args)


def give_back(args) -> None:
    # torch is imported after the lease, which decides the GPUs that it sees.
    import torch

    from ddpm_bench.latents.reconstruction import described, reconstruct
    from ddpm_bench.models.autoencoder import trained_autoencoder
    from ddpm_bench.training.manifests import load_checkpoint

    torch.set_num_threads(usable_cores(args.how.cpus))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = np.load(args.images, mmap_mode="r", allow_pickle=False)[: args.what.images]
    weights = load_checkpoint(args.manifest, args.step)
    autoencoder = trained_autoencoder(args.what.model, images.shape[3], weights, device)
    name = f"reconstruct {args.output.parent.name}"
    with tqdm(total=len(images), desc=name, unit="image", dynamic_ncols=True) as bar:
        result = reconstruct(autoencoder, images, device, bar.update)
    summary = described(args.step, result)
    if summary["warning"]:
        print(f"warning: {summary['warning']}", file=sys.stderr)
    with replacing(args.output) as temporary:
        np.save(temporary, result.images)
    write_json(args.summary, summary)


if __name__ == "__main__":
    run(main)
