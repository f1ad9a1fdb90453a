#!/usr/bin/env python
"""Reconstruct images by a checkpoint of an autoencoder; measure the errors and the use of codes."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.autoencoder import ReconstructStage
from ddpm_bench.config.training import TrainRun
from ddpm_bench.machine.compute_device import compute_device
from ddpm_bench.machine.gpu_leases import lease


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
        # torch is imported after the lease, which decides the GPUs that it sees.
        from ddpm_bench.latents.reconstruction import write_reconstructions

        device = compute_device(args.how.cpus)
        write_reconstructions(
            args.what, args.manifest, args.step, args.images, device, args.output, args.summary
        )


if __name__ == "__main__":
    run(main)
