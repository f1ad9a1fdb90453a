"""Sampling job: a range of a set's images, drawn from one checkpoint into a .npy file.

Torch is imported inside functions: after the GPUs are leased, which decides those that it sees.
"""

import sys
import traceback
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ddpm_bench.config.sampling import SampleRun, SampleStage
from ddpm_bench.files import allocate, remove_half_written, replacing, sha256, write_record
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.machine.host import Use
from ddpm_bench.records.failures import RecordedFailure, failure_of_checkpoint, how_keys
from ddpm_bench.sampling.kept_batches import DrawnBatch, KeptBatches, batch_starts, fingerprint


@dataclass(frozen=True)
class DrawingJob:
    """Images `first` to `last` of a set of samples, from the checkpoint of one training step."""

    stage: SampleStage
    run: SampleRun
    manifest: Path  # JSON of the training job that made the checkpoint
    step: int  # of the training
    first: int  # positions in the set, both included
    last: int
    output: Path  # .npy: uint8 [last - first + 1, H, W, C]
    timing: Path  # JSON: seconds, device, number of network evaluations

    @property
    def count(self) -> int:
        """Number of images to draw."""
        return self.last - self.first + 1

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of each image."""
        return self.stage.image_size, self.stage.image_size, self.stage.channels


def run_job(job: DrawingJob) -> None:
    """Draw the images of a job, on one leased GPU where the machine has some.

    A checkpoint whose training failed gives an empty array, with the failure in the timing file.
    So does a drawing that fails, where `on_failure` of its run keys is `record`.
    """
    failed = failure_of_checkpoint(job.manifest, job.step, job.stage.drawing.ema_sigma_rel)
    if failed is not None:
        write_no_images(job, failed)
        return
    with lease(1) as gpus:
        _draw_or_record(job, Use.begin(gpus))


def _draw_or_record(job: DrawingJob, use: Use) -> None:
    """Draw the images, or record the failure where the run keys ask for it."""
    from ddpm_bench.machine.stage_memory import bound_memory, recordable

    # Imported before the memory limit is set, which is for drawing and not for imports.
    from ddpm_bench.sampling.sampler import open_sampler as _  # noqa: F401

    ceiling = None
    try:
        ceiling = bound_memory(job.run)
        _draw(job, use)
    except Exception as error:
        found = recordable(error, job.run, ceiling) if job.run.on_failure == "record" else None
        if found is None:
            raise
        traceback.print_exc()
        failed = RecordedFailure(found.status, found.reason, job.step, how_keys(job.run))
        write_no_images(job, failed)


def write_no_images(job: DrawingJob, failed: RecordedFailure) -> None:
    """Write an array of no images, uint8 [0, H, W, C], and the failure into the timing file."""
    print(f"no images of step {job.step}: {failed.in_words()}", file=sys.stderr)
    with replacing(job.output) as temporary:
        np.save(temporary, np.empty((0, *job.image_shape), np.uint8))
    write_record(job.timing, {"images": 0, "failed": asdict(failed)})


def _draw(job: DrawingJob, use: Use) -> None:
    """Draw the batches that no earlier attempt has kept, and write images and timing."""
    from ddpm_bench.sampling.sampler import draw_batches, open_sampler, timing
    from ddpm_bench.training.manifests import checkpoint_entry

    sampler = open_sampler(job.stage, job.run, job.manifest, job.step)
    entry = checkpoint_entry(job.manifest, job.step, job.stage.drawing.ema_sigma_rel)
    kept = KeptBatches(job.output.parent, fingerprint(job.stage, entry["sha256"]))
    kept.remove_others()
    remove_half_written(job.output)
    size = job.stage.drawing.batch_size
    starts = batch_starts(size, job.first, job.last)
    found = sum(map(kept.has, starts))
    if found:
        print(
            f"found {found} of {len(starts)} batches of {size} images from before: drawing the "
            f"other {len(starts) - found}",
            file=sys.stderr,
        )
    seconds = _write_images(job, draw_batches(sampler, starts, kept))
    checksum = {"sha256": sha256(job.output)}
    write_record(job.timing, timing(sampler, job.count, seconds) | checksum | use.until_now())
    kept.remove(starts)


def _write_images(job: DrawingJob, batches: Iterable[DrawnBatch]) -> float:
    """Write the job's part of each batch into its output; return the seconds of all batches."""
    name = f"sample {job.output.parent.parent.name} {job.output.parent.name}"
    seconds = 0.0
    with (
        replacing(job.output) as temporary,
        tqdm(total=job.count, desc=name, unit="image", dynamic_ncols=True) as bar,
    ):
        shape = (job.count, *job.image_shape)
        images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        allocate(temporary)
        for batch in batches:
            part = batch.between(job.first, job.last)
            images[bar.n : bar.n + len(part)] = part
            seconds += batch.seconds
            bar.update(len(part))
        images.flush()
    return seconds
