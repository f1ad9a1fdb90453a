#!/usr/bin/env python
"""Measure the loss of a training job's checkpoints on held-out and on training images."""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.training import VALIDATION_BATCH, TrainRun, ValidateStage
from ddpm_bench.files import read_json
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.machine.host import usable_cores


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--what", type=keys(ValidateStage), required=True, help="keys, JSON or @file"
    )
    options.add_argument(
        "--how",
        type=keys(TrainRun),
        default="{}",
        help="the training's run: block, JSON; of it cpus and micro_batch_size",
    )
    options.add_argument("--manifest", type=Path, required=True, help="of the training job, JSON")
    options.add_argument("--eval", type=Path, required=True, help="uint8 [N, H, W, C], .npy")
    options.add_argument("--train", type=Path, required=True, help="uint8 [N, H, W, C], .npy")
    options.add_argument("--output", type=Path, required=True, help="a row per checkpoint, CSV")
    args = options.parse_args()
    if not read_json(args.manifest)["checkpoints"]:  # of a training that failed before its first
        write_losses(args.output, [])
        return
    with lease(1):
        validate(args)


def write_losses(path: Path, rows: list[dict[str, float]]) -> None:
    import pandas as pd

    from ddpm_bench.report.tables.score_tables import VALIDATION_COLUMNS, write_table

    write_table(path, pd.DataFrame(rows, columns=VALIDATION_COLUMNS))


def validate(args) -> None:
    # torch is imported after the lease, which decides the GPUs that it sees.
    import torch

    from ddpm_bench.training.manifests import is_thinned, load_checkpoint
    from ddpm_bench.training.validation import Validator

    torch.set_num_threads(usable_cores(args.how.cpus))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    splits = [np.load(path, mmap_mode="r", allow_pickle=False) for path in (args.eval, args.train)]
    batch_size = min(VALIDATION_BATCH, args.how.micro_batch_size or VALIDATION_BATCH)
    validation = Validator(args.what, *splits, device, batch_size)
    images, wanted = validation.images, args.what.validation.images
    if images < wanted:
        print(f"{images} images of each split, not {wanted}: one has no more", file=sys.stderr)

    checkpoints = read_json(args.manifest)["checkpoints"]
    steps = [entry["step"] for entry in checkpoints if "ema_sigma_rel" not in entry]
    steps = steps if images else []  # nothing to measure, and nothing to draw
    if gone := [step for step in steps if is_thinned(args.manifest, step)]:
        print(f"left out, as `keep` has removed their weights: steps {gone}", file=sys.stderr)
        steps = [step for step in steps if step not in gone]
    name = f"validate {args.output.absolute().parent.parent.name}"
    with tqdm(total=len(steps) * images, desc=name, unit="image", dynamic_ncols=True) as bar:
        rows = [
            validation.row(step, load_checkpoint(args.manifest, step), bar.update) for step in steps
        ]
    write_losses(args.output, rows)


if __name__ == "__main__":
    run(main)
