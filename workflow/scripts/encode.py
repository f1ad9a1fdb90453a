#!/usr/bin/env python
"""Encode a dataset's images once, by an autoencoder's last checkpoint: latents to train on.

Writes into the output folder: train.npy and eval.npy (float32 [N, h, w, c], unit variance),
summary.json (their scale) and autoencoder.safetensors.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.autoencoder import EncodeStage
from ddpm_bench.config.training import TrainRun
from ddpm_bench.machine.compute_device import compute_device
from ddpm_bench.machine.gpu_leases import lease


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--what", type=keys(EncodeStage), required=True, help="keys, JSON or @file"
    )
    options.add_argument(
        "--how", type=keys(TrainRun), default="{}", help="the training's run: block; of it cpus"
    )
    options.add_argument("--manifest", type=Path, required=True, help="of its last training job")
    options.add_argument("--step", type=int, required=True, help="the checkpoint's training step")
    options.add_argument("--train", type=Path, required=True, help="uint8 [N, H, W, C], .npy")
    options.add_argument("--eval", type=Path, required=True, help="uint8 [N, H, W, C], .npy")
    options.add_argument("--output", type=Path, required=True, help="folder to write into")
    args = options.parse_args()
    with lease(1):
        # torch is imported after the lease, which decides the GPUs that it sees.
        from ddpm_bench.latents.encoding import write_latents

        images = {"train": args.train, "eval": args.eval}
        device = compute_device(args.how.cpus)
        write_latents(args.what.model, args.manifest, args.step, images, device, args.output)


if __name__ == "__main__":
    run(main)
