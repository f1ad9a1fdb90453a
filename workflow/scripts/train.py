#!/usr/bin/env python
"""Train one job of an experiment: from its last saved state to the job's last step.

Saves the resumable state every `save_seconds`, on SIGTERM and SIGUSR1 (exit status 75: start it
again and it goes on), and at the end; checkpoints of EMA weights at the multiples of
`checkpoint_every`. Several processes (`gpus` of --how) are started through torchrun's agent, on
several nodes (`nodes` of --how) inside a SLURM job through srun. After SIGUSR1, SLURM's warning
before the wall time is over, its job is sent into the queue again where the cluster allows that.

With `on_failure: record` of --how a training that runs out of memory, diverges or crashes leaves a
manifest that says so, with the checkpoints that it has made, and the exit status is 0.
"""

import os
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.training import TrainRun, TrainStage
from ddpm_bench.errors import EXIT_SAVED_AND_STOPPED, EXIT_USER_ERROR, UserError
from ddpm_bench.files import read_json, write_json
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
from ddpm_bench.machine.slurm_job import requeue, stay_if_left
from ddpm_bench.machine.watching import (
    failure_folder,
    is_watched,
    outcome_of,
    watch,
    write_own_failure,
)
from ddpm_bench.records.failures import failure_before, how_keys


def arguments():
    options = parser(__doc__)
    options.add_argument("--what", type=keys(TrainStage), required=True, help="keys, JSON or @file")
    options.add_argument("--how", type=keys(TrainRun), default="{}", help="the run: block, JSON")
    options.add_argument("--dataset", type=Path, required=True, help="folder of a prepared dataset")
    options.add_argument("--experiment", type=Path, required=True, help="folder of its results")
    options.add_argument("--first", type=int, default=0, help="step that the job goes on from")
    options.add_argument("--last", type=int, required=True, help="step that the job ends at")
    options.add_argument(
        "--init-from", nargs="?", help="file of the weights that init_from of --what names"
    )
    options.add_argument("--output", type=Path, required=True, help="the job's manifest, JSON")
    options.add_argument(
        "--renew-seconds",
        type=float,
        default=10.0,
        help="how often it shows that it lives; nine times that without a sign, and a trainer on "
        "another machine may take over",
    )
    return options.parse_args()


def main() -> int:
    args = arguments()
    if has_a_launcher() or is_watched():
        die_with_the_launcher()
    if is_one_of_several():
        status = EXIT_USER_ERROR
        try:
            status = train_job(args).status
        finally:
            report_status(status)
        return status
    if is_share_of_several():
        with lease(args.how.gpus):
            return run_share(args.how.nodes, args.how.gpus, args.how.cpus, sys.argv)
    if args.how.on_failure == "record" and not is_watched():
        return train_watched(args)
    return train_to_the_end(args).status


def train_to_the_end(args) -> Ended:
    try:
        ended = train_in_processes(args)
    except UserError as error:
        stay_if_left(f"error: {error}")
        raise
    if ended.status:
        stay_if_left(f"the training ended with status {ended.status}")
    if ended == Ended(EXIT_SAVED_AND_STOPPED, signal.SIGUSR1):
        requeue()
    return ended


def train_watched(args) -> int:
    """Train in processes that may fail, and record it if they do."""
    earlier = failure_before(args.output, args.first)
    if earlier is not None:
        print(f"not trained: the job before failed: {earlier.in_words()}", file=sys.stderr)
        return record_failure(args, earlier.status, earlier.reason)
    with failure_folder(args.output) as folder:
        if args.how.processes > 1:
            watched = outcome_of(train_to_the_end(args), folder)
        else:
            watched = watch(sys.argv, folder)
    if watched.failure is None:
        return watched.status
    return record_failure(args, watched.failure.status, watched.failure.reason)


def record_failure(args, status: str, reason: str) -> int:
    """Leave the job's manifest with why it failed, and the checkpoints that were made before."""
    from ddpm_bench.records.failures import RecordedFailure
    from ddpm_bench.training.checkpoints import TrainingFolder, fingerprint
    from ddpm_bench.training.ownership import owning
    from ddpm_bench.training.trainer import METRICS_HEADER, TrainingJob

    stage, about = args.what, args.what.model_dump_json(exclude_defaults=True)
    job = TrainingJob(args.first, args.last, stage, args.how, about)
    rels = stage.train.ema_sigma_rels
    summary = read_json(args.dataset / "summary.json")
    # Latents are named by what they were made from.
    name = fingerprint(stage, summary.get("identity") or summary["sha256"]["train"])
    with owning(args.experiment / "training", args.renew_seconds) as owner:
        folder = TrainingFolder(args.experiment, name, owner.check)
        folder.remove_leftovers()
        folder.set_others_aside(about)
        saved = folder.latest_valid_step(at_most=args.last)
        if saved is None:
            folder.publish_metrics(METRICS_HEADER)
        made = [step for step in job.checkpoint_steps() if folder.has_checkpoint(step, rels)]
        failed = RecordedFailure(status, reason, saved or 0, how_keys(args.how))
        manifest = folder.finish(args.first, args.last, made, rels, about, decoder_of(args))
        write_json(args.output, {**manifest, "failed": asdict(failed)})
    print(
        f"recorded, and the exit status is 0 (run.on_failure): {failed.in_words()}",
        file=sys.stderr,
        flush=True,
    )
    return 0


def train_in_processes(args) -> Ended:
    how = args.how
    if how.nodes > 1:
        return run_on_nodes(how.nodes, how.gpus, how.cpus, sys.argv)
    with lease(how.gpus):
        if how.gpus > 1:
            return run_processes(how.gpus, how.cpus, sys.argv)
        return train_job(args)


def with_given_weights(stage: TrainStage, path: str) -> TrainStage:
    """The stage with the place of the weights, which is no part of what is computed."""
    if stage.train.init_from is None:
        raise UserError("--init-from: the keys of --what name no weights (train.init_from.sha256)")
    given = stage.train.init_from.model_copy(update={"path": path})
    return stage.model_copy(update={"train": stage.train.model_copy(update={"init_from": given})})


def train_job(args) -> Ended:
    # torch is imported after the lease, which decides the GPUs that it sees.
    # All that a ceiling of memory need not hold is imported before it is set.
    from ddpm_bench.machine.stage_memory import bound_memory, recordable
    from ddpm_bench.training.trainer import train as _  # noqa: F401

    ceiling = None
    try:
        ceiling = bound_memory(args.how)
        return train_to_the_last_step(args)
    except Exception as error:
        failure = recordable(error, args.how, ceiling) if is_watched() else None
        if failure is not None:
            write_own_failure(failure)
        elif is_watched() and isinstance(error, OSError):  # who watches must not record its end
            traceback.print_exc()
            raise UserError(
                f"{type(error).__name__}: {error}; mend that, and the same command goes on"
            ) from None
        raise


def train_to_the_last_step(args) -> Ended:
    from ddpm_bench.training.checkpoints import TrainingFolder, fingerprint
    from ddpm_bench.training.coordination import StopSignal
    from ddpm_bench.training.ownership import owning
    from ddpm_bench.training.trainer import TrainingJob, train

    stage, stop = args.what, StopSignal()
    images = np.load(args.dataset / "train.npy", mmap_mode="r", allow_pickle=False)
    summary = read_json(args.dataset / "summary.json")
    # Latents are named by what they were made from.
    name = fingerprint(stage, summary.get("identity") or summary["sha256"]["train"])
    about = stage.model_dump_json(exclude_defaults=True)
    if args.init_from:
        stage = with_given_weights(stage, args.init_from)
    job = TrainingJob(args.first, args.last, stage, args.how, about)
    if int(os.environ.get("RANK", 0)) > 0:
        folder = TrainingFolder(args.experiment, name)
        return Ended(train(job, images, folder, owner=None, stop=stop), stop.number)
    with owning(args.experiment / "training", args.renew_seconds) as owner:
        folder = TrainingFolder(args.experiment, name, owner.check)
        folder.remove_leftovers()
        folder.set_others_aside(about)
        status = train(job, images, folder, owner, stop)
        if status == 0:
            owner.check()
            manifest = folder.finish(
                args.first,
                args.last,
                job.checkpoint_steps(),
                stage.train.ema_sigma_rels,
                about,
                decoder_of(args),
            )
            write_json(args.output, manifest)
    return Ended(status, stop.number)


def decoder_of(args) -> dict[str, Any] | None:
    """Publish what decodes the latents that are trained on; None for pixels."""
    if args.what.latents is None:
        return None
    from ddpm_bench.latents.encoding import publish_decoder

    return publish_decoder(args.dataset, args.experiment)


if __name__ == "__main__":
    run(main)
