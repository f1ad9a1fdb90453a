"""A training job from its program's arguments to its manifest, in the processes that it asks for.

A job runs in this process, in one process per GPU through torchrun's agent, or on several nodes
through srun. Under `on_failure: record` it runs in processes that this one watches, and a failure
that is a result of its keys becomes its manifest. Only a process that trains imports torch, after
GPUs are leased, which decides the GPUs that torch sees.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddpm_bench.config.training import TrainStage
from ddpm_bench.errors import EXIT_SAVED_AND_STOPPED, EXIT_USER_ERROR, UserError
from ddpm_bench.files import write_record
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.machine.launch import (
    Ended,
    die_with_the_launcher,
    has_a_launcher,
    is_one_of_several,
    is_share_of_several,
    report_status,
    run_on_nodes,
    run_processes,
    run_share,
)
from ddpm_bench.machine.process_group import silence_in_words
from ddpm_bench.machine.slurm_job import requeue, stay_if_left
from ddpm_bench.machine.watching import (
    failure_folder,
    is_watched,
    outcome_of,
    watch,
    write_own_failure,
)
from ddpm_bench.records.checksums import open_array
from ddpm_bench.records.failures import RecordedFailure, failure_before, how_keys
from ddpm_bench.text import size_text
from ddpm_bench.training.description import JobRequest

if TYPE_CHECKING:  # both import torch, or take long
    from ddpm_bench.training.folder import TrainingFolder
    from ddpm_bench.training.ownership import Owner

CHECKING_IS_SHOWN = 10**9  # bytes of images, from which on it takes about a second


def run_job(request: JobRequest) -> int:
    """Train a job, or this process's part of it; return the exit status.

    Raises UserError for a problem that the user can mend.
    """
    if has_a_launcher() or is_watched():
        die_with_the_launcher()
    how = request.how
    if is_one_of_several():
        status = EXIT_USER_ERROR
        try:
            status = train_here(request).status
        finally:
            report_status(status)
        return status
    if is_share_of_several():
        with lease(how.gpus):
            return run_share(how.nodes, how.gpus, how.cpus, request.command)
    if how.on_failure == "record" and not is_watched():
        return train_watched(request)
    return train_to_the_end(request).status


def train_watched(request: JobRequest) -> int:
    """Train in processes that may fail, and record a failure; return the exit status."""
    earlier = failure_before(request.output, request.first)
    if earlier is not None:
        print(f"not trained: the job before failed: {earlier.in_words()}", file=sys.stderr)
        return record_failure(request, earlier.status, earlier.reason)
    with failure_folder(request.output) as folder:
        if request.how.processes > 1:
            watched = outcome_of(train_to_the_end(request), folder)
        else:
            watched = watch(request.command, folder)
    if watched.failure is None:
        return watched.status
    return record_failure(request, watched.failure.status, watched.failure.reason)


def record_failure(request: JobRequest, status: str, reason: str) -> int:
    """Write the job's manifest with the failure and the checkpoints made before; return 0."""
    from ddpm_bench.training.metrics import METRICS_HEADER
    from ddpm_bench.training.publishing import publish_job, publish_metrics

    job = request.job()
    rels = job.stage.train.ema_sigma_rels
    with _owned_folder(request, request.training_name(), job.about) as (folder, _):
        saved = folder.states.latest_valid_step(at_most=request.last)
        if saved is None:
            publish_metrics(folder, METRICS_HEADER)
        missing = folder.checkpoints.missing(job.checkpoint_steps(), rels)
        made = [step for step in job.checkpoint_steps() if step not in missing]
        failed = RecordedFailure(status, reason, saved or 0, how_keys(request.how))
        manifest = publish_job(folder, job, made, _decoder_of(request))
        write_record(request.output, {**manifest, "failed": asdict(failed)})
    print(
        f"recorded, and the exit status is 0 (run.on_failure): {failed.in_words()}",
        file=sys.stderr,
        flush=True,
    )
    return 0


@contextmanager
def _owned_folder(
    request: JobRequest, name: str, about: str
) -> Iterator[tuple["TrainingFolder", "Owner"]]:
    """Own the folder of the training `name` until the block ends, and make it the published one."""
    from ddpm_bench.training.folder import TrainingFolder
    from ddpm_bench.training.ownership import owning
    from ddpm_bench.training.publishing import set_others_aside

    with owning(request.experiment / "training", request.renew_seconds) as owner:
        folder = TrainingFolder(request.experiment, name, owner.check)
        folder.remove_leftovers()
        set_others_aside(folder, about)
        yield folder, owner


def train_to_the_end(request: JobRequest) -> Ended:
    """Train in the processes that the job asks for.

    A SLURM job that stopped before the end of its wall time is sent into the queue again.
    """
    try:
        ended = train_in_processes(request)
    except UserError as error:
        stay_if_left(f"error: {error}")
        raise
    if ended.status:
        stay_if_left(f"the training ended with status {ended.status}")
    if ended == Ended(EXIT_SAVED_AND_STOPPED, signal.SIGUSR1):
        requeue()
    return ended


def train_in_processes(request: JobRequest) -> Ended:
    """Train on several nodes, in several processes of this one, or in this process."""
    how = request.how
    if how.nodes > 1:
        return run_on_nodes(how.nodes, how.gpus, how.cpus, request.command)
    with lease(how.gpus):
        if how.gpus > 1:
            return run_processes(how.gpus, how.cpus, request.command)
        return train_here(request)


def train_here(request: JobRequest) -> Ended:
    """Train in this process, within the memory that it may take.

    In a watched training a failure that is a result of the keys is written for the process that
    watches, and an error of files becomes a UserError.
    """
    # All that a ceiling of memory need not hold is imported before it is set.
    from ddpm_bench.machine.stage_memory import bound_memory, recordable
    from ddpm_bench.training.loop import train as _  # noqa: F401

    ceiling = None
    try:
        ceiling = bound_memory(request.how)
        return train_to_the_last_step(request)
    except Exception as error:
        failure = recordable(error, request.how, ceiling) if is_watched() else None
        if failure is not None:
            write_own_failure(failure)
        elif is_watched() and isinstance(error, OSError):  # who watches must not record its end
            traceback.print_exc()
            raise UserError(
                f"{type(error).__name__}: {error}; mend that, and the same command goes on"
            ) from None
        silence = silence_in_words(error)
        if silence is not None:
            raise UserError(silence) from error
        raise


def train_to_the_last_step(request: JobRequest) -> Ended:
    """Train from the last saved state to the job's last step.

    The first process writes the files, and the job's manifest at the end.
    """
    from ddpm_bench.training.coordination import StopSignal
    from ddpm_bench.training.folder import TrainingFolder
    from ddpm_bench.training.loop import train
    from ddpm_bench.training.publishing import publish_job

    stop = StopSignal()
    name, job, path = request.training_name(), request.job(), request.dataset / "train.npy"
    if request.init_from:
        job = replace(job, stage=with_given_weights(job.stage, request.init_from))
    if int(os.environ.get("RANK", 0)) > 0:
        images = np.load(path, mmap_mode="r", allow_pickle=False)  # the first process checks it
        folder = TrainingFolder(request.experiment, name)
        return Ended(train(job, images, folder, owner=None, stop=stop), stop.number)
    images = checked_images(path)
    with _owned_folder(request, name, job.about) as (folder, owner):
        status = train(job, images, folder, owner, stop)
        if status == 0:
            owner.check()
            steps = job.checkpoint_steps()
            write_record(request.output, publish_job(folder, job, steps, _decoder_of(request)))
    return Ended(status, stop.number)


def checked_images(path: Path) -> np.ndarray:
    """Map training images or latents into memory, after a pass over them for their checksum.

    The pass is made at each start of a job: it reads what the training is about to read, and a
    start that finds damage costs seconds, one that does not costs a training.
    """
    began = time.monotonic()
    images = open_array(path)
    if images.nbytes >= CHECKING_IS_SHOWN:
        took = f"{size_text(images.nbytes)} in {time.monotonic() - began:.0f} s"
        print(f"checked {path}: {took}", file=sys.stderr)
    return images


def with_given_weights(stage: TrainStage, path: str) -> TrainStage:
    """Return the stage with the path of its weights, which is no part of what is computed.

    Raises UserError when the stage names no weights.
    """
    if stage.train.init_from is None:
        raise UserError("--init-from: the keys of --what name no weights (train.init_from.sha256)")
    given = stage.train.init_from.model_copy(update={"path": path})
    return stage.model_copy(update={"train": stage.train.model_copy(update={"init_from": given})})


def _decoder_of(request: JobRequest) -> dict[str, Any] | None:
    """Publish the decoder of the latents that are trained on; return its entry in the manifest.

    None for pixels.
    """
    from ddpm_bench.training.publishing import publish_decoder

    if request.what.latents is None:
        return None
    return publish_decoder(request.dataset, request.experiment)
