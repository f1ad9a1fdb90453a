#!/usr/bin/env python
"""Draw images first .. last of a set of samples from one checkpoint, into one .npy file.

Each batch is kept beside the output until the output is complete, so a job that is killed and
started again draws only the missing batches. If the checkpoint was never made because its training
failed, or if drawing fails and --how has `on_failure: record`, the output holds no images and
--timing the reason.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.sampling import SampleRun, SampleStage
from ddpm_bench.sampling.job import DrawingJob, run_job


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--what", type=keys(SampleStage), required=True, help="the stage's keys, JSON or @file"
    )
    options.add_argument(
        "--how", type=keys(SampleRun), default="{}", help="the run block's keys, JSON"
    )
    options.add_argument(
        "--manifest", type=Path, required=True, help="manifest of the training job, JSON"
    )
    options.add_argument("--step", type=int, required=True, help="the checkpoint's training step")
    options.add_argument("--first", type=int, default=0, help="position of the first image")
    options.add_argument("--last", type=int, required=True, help="position of the last image")
    options.add_argument("--output", type=Path, required=True, help="uint8 [n, H, W, C], .npy")
    options.add_argument("--timing", type=Path, required=True, help="duration and device, JSON")
    args = options.parse_args()
    run_job(
        DrawingJob(
            stage=args.what,
            run=args.how,
            manifest=args.manifest,
            step=args.step,
            first=args.first,
            last=args.last,
            output=args.output,
            timing=args.timing,
        )
    )


if __name__ == "__main__":
    run(main)
