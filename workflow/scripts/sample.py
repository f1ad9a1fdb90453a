#!/usr/bin/env python
"""Draw images first .. last of a set of samples from one checkpoint, into one .npy file."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from ddpm_bench.config.sampling import SampleRun, SampleStage
from ddpm_bench.devices import lease, usable_cores
from ddpm_bench.files import allocate, replacing
from ddpm_bench.program import keys, parser, run


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--what", type=keys(SampleStage), required=True, help="keys, JSON or @file"
    )
    options.add_argument("--how", type=keys(SampleRun), default="{}", help="the run: block, JSON")
    options.add_argument("--manifest", type=Path, required=True, help="of the training job, JSON")
    options.add_argument("--step", type=int, required=True, help="the checkpoint's training step")
    options.add_argument("--first", type=int, default=0, help="position of the first image")
    options.add_argument("--last", type=int, required=True, help="position of the last image")
    options.add_argument("--output", type=Path, required=True, help="uint8 [n, H, W, C], .npy")
    args = options.parse_args()
    with lease(1):
        draw(args)


def draw(args) -> None:
    # torch is imported after the lease, which decides the GPUs that it sees.
    import torch

    from ddpm_bench.checkpoints import load_checkpoint
    from ddpm_bench.sampling import Sampler, draw_range

    stage: SampleStage = args.what
    torch.set_num_threads(usable_cores(args.how.cpus))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weights = load_checkpoint(args.manifest, args.step, stage.drawing.ema_sigma_rel)
    sampler = Sampler(stage, weights, device)
    count = args.last - args.first + 1
    shape = (count, stage.image_size, stage.image_size, stage.channels)
    name = f"sample {args.output.parent.parent.name} {args.output.parent.name}"
    with (
        replacing(args.output) as temporary,
        tqdm(total=count, desc=name, unit="image", dynamic_ncols=True) as bar,
    ):
        images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        allocate(temporary)
        for position, batch in draw_range(sampler, args.first, args.last):
            images[position - args.first : position - args.first + len(batch)] = batch
            bar.update(len(batch))
        images.flush()


if __name__ == "__main__":
    run(main)
