#!/usr/bin/env python
"""Measure the loss of a training job's checkpoints on held-out and on training images."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.training import TrainRun, ValidateStage
from ddpm_bench.training.validation_job import ValidationRequest, validate


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
    validate(ValidationRequest(**vars(options.parse_args())))


if __name__ == "__main__":
    run(main)
