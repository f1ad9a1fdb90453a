#!/usr/bin/env python
"""Draw images first .. last of a set of samples from one checkpoint, into one .npy file.

Batches are kept beside it as soon as they are drawn, until the file is whole: a job that is killed
and started again draws only what is missing. Of a checkpoint that was never made, as its manifest
tells, there are no images, and the file beside them says why; so it is with `on_failure: record` of
--how where memory runs out.
"""

import sys
import traceback
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.sampling import SampleRun, SampleStage
from ddpm_bench.files import allocate, remove_half_written, replacing, write_json
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.machine.host import Use
from ddpm_bench.records.failures import RecordedFailure, failure_of_checkpoint, how_keys
from ddpm_bench.sampling.kept_batches import DrawnBatch, KeptBatches, batch_starts, fingerprint


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
    options.add_argument("--timing", type=Path, required=True, help="how long it took, JSON")
    args = options.parse_args()
    sigma_rel = args.what.drawing.ema_sigma_rel
    failed = failure_of_checkpoint(args.manifest, args.step, sigma_rel)
    if failed is not None:
        write_nothing(args, failed)
        return
    with lease(1) as gpus:
        draw_or_record(args, Use.begin(gpus))


def draw_or_record(args, use: Use) -> None:
    from ddpm_bench.machine.stage_memory import bound_memory, recordable
    from ddpm_bench.sampling.sampler import open_sampler as _  # noqa: F401

    ceiling = None
    try:
        ceiling = bound_memory(args.how)
        draw(args, use)
    except Exception as error:
        found = recordable(error, args.how, ceiling) if args.how.on_failure == "record" else None
        if found is None:
            raise
        traceback.print_exc()
        write_nothing(
            args, RecordedFailure(found.status, found.reason, args.step, how_keys(args.how))
        )


def write_nothing(args, failed: RecordedFailure) -> None:
    """No images, and why."""
    stage: SampleStage = args.what
    print(f"no images of step {args.step}: {failed.in_words()}", file=sys.stderr)
    with replacing(args.output) as temporary:
        np.save(temporary, np.empty((0, stage.image_size, stage.image_size, stage.channels), "u1"))
    write_json(args.timing, {"images": 0, "failed": asdict(failed)})


def draw(args, use: Use) -> None:
    # These import torch: after the lease, which decides the GPUs that it sees.
    from ddpm_bench.sampling.sampler import draw_batches, open_sampler, timing
    from ddpm_bench.training.manifests import checkpoint_entry

    stage: SampleStage = args.what
    sampler = open_sampler(stage, args.how, args.manifest, args.step)
    entry = checkpoint_entry(args.manifest, args.step, stage.drawing.ema_sigma_rel)
    name = fingerprint(stage, entry["sha256"])
    kept = KeptBatches(args.output.parent, name)
    kept.remove_others()
    remove_half_written(args.output)
    size = stage.drawing.batch_size
    starts = batch_starts(size, args.first, args.last)
    found = sum(map(kept.has, starts))
    if found:
        print(
            f"found {found} of {len(starts)} batches of {size} images from before: drawing the "
            f"other {len(starts) - found}",
            file=sys.stderr,
        )
    seconds = write_images(args, draw_batches(sampler, starts, kept))
    measured = timing(sampler, args.last - args.first + 1, seconds)
    write_json(args.timing, measured | use.until_now())
    kept.remove(starts)


def write_images(args, batches: Iterable[DrawnBatch]) -> float:
    """Put what is asked for of each batch into the output; returns the seconds of all of them."""
    stage: SampleStage = args.what
    count = args.last - args.first + 1
    shape = (count, stage.image_size, stage.image_size, stage.channels)
    name = f"sample {args.output.parent.parent.name} {args.output.parent.name}"
    seconds = 0.0
    with (
        replacing(args.output) as temporary,
        tqdm(total=count, desc=name, unit="image", dynamic_ncols=True) as bar,
    ):
        images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        allocate(temporary)
        for batch in batches:
            asked = batch.between(args.first, args.last)
            images[bar.n : bar.n + len(asked)] = asked
            seconds += batch.seconds
            bar.update(len(asked))
        images.flush()
    return seconds


if __name__ == "__main__":
    run(main)
