#!/usr/bin/env python
"""Draw an animation over the solver's steps from noise to the first images of a set.

The upper row shows the images at each step, the lower row the estimates of the clean images. With
`on_failure: record` in --how, a drawing that fails is replaced by a picture with the reason.
"""

import traceback
from pathlib import Path

from tqdm import tqdm

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.sampling import SampleRun, SampleStage
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.records.failures import RecordedFailure, failure_of_checkpoint, how_keys


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--what", type=keys(SampleStage), required=True, help="keys, JSON or @file"
    )
    options.add_argument("--how", type=keys(SampleRun), default="{}", help="the run: block, JSON")
    options.add_argument("--manifest", type=Path, required=True, help="of the training job, JSON")
    options.add_argument("--step", type=int, required=True, help="the checkpoint's training step")
    options.add_argument("--title", default="From noise to image", help="text of the heading")
    options.add_argument("--output", type=Path, required=True, help="GIF to write")
    args = options.parse_args()
    sigma_rel = args.what.drawing.ema_sigma_rel
    failed = failure_of_checkpoint(args.manifest, args.step, sigma_rel)
    if failed is None:
        with lease(1):
            draw_or_write_failure(args)
    else:
        from ddpm_bench.report.figures.sample_pictures import write_failure_picture

        write_failure_picture(args.output, args.title, failed)


def draw_or_write_failure(args) -> None:
    """Draw the animation, or with `on_failure: record` a picture with the reason of the failure."""
    # Imported before the memory limit is set, which need not include it.
    from ddpm_bench.machine.stage_memory import bound_memory, recordable
    from ddpm_bench.report.figures.sample_pictures import write_failure_picture
    from ddpm_bench.sampling.sampler import open_sampler as _  # noqa: F401

    ceiling = None
    try:
        ceiling = bound_memory(args.how)
        draw(args)
    except Exception as error:
        found = recordable(error, args.how, ceiling) if args.how.on_failure == "record" else None
        if found is None:
            raise
        traceback.print_exc()
        reason = f"{found.reason} (delete this file to draw it again)"
        failed = RecordedFailure(found.status, reason, args.step, how_keys(args.how))
        write_failure_picture(args.output, args.title, failed)


def draw(args) -> None:
    """Draw the animation of a checkpoint's samples."""
    # These import torch: after the lease, which decides the GPUs that it sees.
    from ddpm_bench.report.figures.animations import denoising_frames, frames_of, save_animation
    from ddpm_bench.sampling.sampler import denoising_steps, open_sampler

    stage: SampleStage = args.what
    sampler = open_sampler(stage, args.how, args.manifest, args.step)
    most, images = frames_of(stage.image_size, stage.image_size, rows=2)
    of = stage.drawing.solver_steps()
    steps = tqdm(
        denoising_steps(sampler, images, most),
        total=min(most, of), desc="plot_trajectory", unit="frame", dynamic_ncols=True,
    )  # fmt: skip
    title = f"{args.title} (training step {args.step:,})"
    save_animation(denoising_frames(steps, of, title), args.output)


if __name__ == "__main__":
    run(main)
