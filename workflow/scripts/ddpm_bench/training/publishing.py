"""Publication of a training's files in its experiment's folder, and the manifests of its jobs.

results/<experiment>/training/job-00000000-00000600.json   manifest of a finished job
results/<experiment>/training/current.json                 the training that is published
results/<experiment>/checkpoints/step-00000300.safetensors
                                 autoencoder.safetensors   of a training in latents
results/<experiment>/metrics.csv, progress.jsonl
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ddpm_bench.errors import UserError
from ddpm_bench.files import replacing, sha256, write_record
from ddpm_bench.records.json_record import read_record
from ddpm_bench.records.layout import WEIGHTS
from ddpm_bench.training.checkpoints import publish
from ddpm_bench.training.description import TrainingJob
from ddpm_bench.training.folder import TrainingFolder


def set_others_aside(folder: TrainingFolder, about: str) -> None:
    """Make a training the published one: move another's published checkpoints to its own folder.

    about: the training stage's JSON, kept in current.json to name changed keys later.
    """
    training = folder.experiment_folder / "training"
    marker = training / "current.json"
    before = read_record(marker, "fingerprint")["fingerprint"] if marker.exists() else folder.name
    if before != folder.name:
        aside = training / before
        count = folder.checkpoints.set_published_aside(aside)
        print(
            f"the configuration of {folder.experiment_folder.name} has changed: training begins "
            f"anew; the {count} checkpoints so far are kept in {aside}",
            file=sys.stderr,
        )
    write_record(marker, {"fingerprint": folder.name, "keys": json.loads(about)})


def publish_metrics(folder: TrainingFolder, text: str) -> None:
    """Write metrics.csv of the experiment: that of this training."""
    with replacing(folder.experiment_folder / "metrics.csv", folder.check) as temporary:
        temporary.write_text(text, encoding="utf-8")


def publish_progress(folder: TrainingFolder) -> None:
    """Make progress.jsonl of the experiment that of this training."""
    target = folder.experiment_folder / "progress.jsonl"
    publish(folder.path / "progress.jsonl", target, folder.check)


def publish_decoder(dataset: Path, experiment: Path) -> dict[str, Any]:
    """Publish the autoencoder of the latents in folder `dataset` with an experiment's checkpoints.

    Returns its entry in the manifests of the experiment's training jobs: file, sha256, step,
    channels, keys, and the mean and standard deviation of the latents. Raises UserError where its
    weights are not those that have encoded the latents.
    """
    summary = read_record(dataset / "summary.json", "autoencoder")
    source = dataset / WEIGHTS
    if sha256(source) != summary["autoencoder"]["sha256"]:
        raise UserError(
            f"{source}: not the weights that encoded these latents (sha256 differs); delete "
            f"{dataset / 'summary.json'} and run snakemake again: images are encoded anew"
        )
    publish(source, experiment / "checkpoints" / WEIGHTS)
    return {
        "file": f"checkpoints/{WEIGHTS}",
        **summary["autoencoder"],
        "mean": summary["mean"],
        "std": summary["std"],
    }


def publish_job(
    folder: TrainingFolder,
    job: TrainingJob,
    steps: Sequence[int],
    autoencoder: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Publish the checkpoints of a finished job; return its manifest, with no clock or host in it.

    steps: those whose checkpoints are made; autoencoder: the entry that `publish_decoder` returns,
    for a training in latents.
    """
    entries = folder.checkpoints.publish_all(steps, job.stage.train.ema_sigma_rels)
    metrics = folder.states.newest_metrics()
    if metrics is not None:  # None when a job has no checkpoint to make
        publish_metrics(folder, metrics)
        publish_progress(folder)
    return {
        "fingerprint": folder.name,
        "first_step": job.first,
        "last_step": job.last,
        "checkpoints": entries,
        "keys": json.loads(job.about),
        **({} if autoencoder is None else {"autoencoder": autoencoder}),
    }
