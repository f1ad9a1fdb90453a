"""Thinning of checkpoints that are drawn from and scored: only those worth keeping stay on disk.

Checkpoints to be removed are recorded first, in training/<fingerprint>/thinned.json, so that they
count as trained ever after; a thinning that is killed is finished by the next one.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ddpm_bench.config.selection import ThinStage
from ddpm_bench.files import write_record
from ddpm_bench.records.json_record import read_record
from ddpm_bench.report.tables.score_tables import BEST_COLUMNS, EVALUATION_COLUMNS, read_table
from ddpm_bench.text import size_text
from ddpm_bench.training.folder import TrainingFolder
from ddpm_bench.training.manifests import current_fingerprint
from ddpm_bench.training.ownership import owning


@dataclass(frozen=True)
class Checkpoint:
    """A file of averaged weights that the manifest of a finished training job names."""

    step: int
    sigma_rel: float | None  # the width of its average; None for the one of train.ema_decay
    name: str
    sha256: str


def trained_checkpoints(folder: TrainingFolder) -> list[Checkpoint]:
    """Return all checkpoints of a training's finished jobs, by step."""
    manifests = map(read_record, (folder.experiment_folder / "training").glob("job-*.json"))
    found = {
        Checkpoint(
            entry["step"], entry.get("ema_sigma_rel"), Path(entry["file"]).name, entry["sha256"]
        )
        for manifest in manifests
        if manifest["fingerprint"] == folder.name
        for entry in manifest["checkpoints"]
    }
    return sorted(found, key=lambda checkpoint: (checkpoint.step, checkpoint.name))


def why_kept(
    checkpoints: Iterable[Checkpoint],
    stage: ThinStage,
    evaluation: pd.DataFrame,
    best: pd.DataFrame,
) -> dict[Checkpoint, str]:
    """Return the checkpoints that stay, each with the first reason; all others may be removed.

    evaluation, best: the tables evaluation_results.csv and best_scores.csv of the experiment.
    """
    checkpoints = list(checkpoints)
    latest = max((checkpoint.step for checkpoint in checkpoints), default=0)
    measured = evaluation[evaluation["images_generated"] > 0]  # others: a failure that is recorded
    scored = set(measured[["samples", "score", "training_step"]].itertuples(index=False))
    reasons = {}
    for checkpoint in checkpoints:
        step, number = checkpoint.step, checkpoint.step // stage.checkpoint_every
        drawn = _sets_drawn_from(checkpoint, stage)
        is_best = (best["training_step"] == step) & best["samples"].isin(drawn)
        asked = {(name, score, step) for name in drawn for score in stage.scores}
        if step == latest:
            reasons[checkpoint] = "the latest"
        elif is_best.any():
            reasons[checkpoint] = f"the best by {', '.join(sorted(set(best.metric[is_best])))}"
        elif number % stage.keep.every == 0:
            reasons[checkpoint] = f"number {number}"
        elif not asked:
            reasons[checkpoint] = "not scored: no set of samples and score ask for it"
        elif not asked <= scored:
            reasons[checkpoint] = "not yet scored everywhere"
    return reasons


def _sets_drawn_from(checkpoint: Checkpoint, stage: ThinStage) -> list[str]:
    """Return the names of the sets of samples that draw from a checkpoint."""
    return [
        name
        for name, asked in stage.sets.items()
        if checkpoint.step in asked.steps and checkpoint.sigma_rel == asked.ema_sigma_rel
    ]


def thin_experiment(
    stage: ThinStage, experiment: Path, evaluation: Path, best: Path, output: Path
) -> None:
    """Thin the checkpoints of an experiment's training; write the report and print its numbers.

    evaluation, best: evaluation_results.csv and best_scores.csv. Raises UserError while the
    experiment is being trained.
    """
    scores = read_table(evaluation, EVALUATION_COLUMNS)
    best_scores = read_table(best, BEST_COLUMNS)
    training = experiment / "training"
    with owning(training) as owner:
        name = current_fingerprint(training)
        folder = TrainingFolder(experiment, name, owner.check)
        kept = why_kept(trained_checkpoints(folder), stage, scores, best_scores)
        report = thin(folder, kept)
        write_record(output, report)
    print(
        f"{len(report['removed'])} checkpoints are removed, {len(report['kept'])} stay; "
        f"{size_text(report['bytes_freed'])} are freed",
        file=sys.stderr,
    )
    if gone := report["removed_before_but_asked_for_now"]:
        print(
            f"`keep` would keep {', '.join(gone)}, which were removed before and do not come back",
            file=sys.stderr,
        )


def thin(folder: TrainingFolder, kept: dict[Checkpoint, str]) -> dict[str, Any]:
    """Remove the weights of all of a training's checkpoints but the kept; return a report for JSON.

    The files are recorded as removed first and then removed, here and where they are published.
    """
    checkpoints, on_disk = trained_checkpoints(folder), folder.checkpoints.copies
    going = [checkpoint for checkpoint in checkpoints if checkpoint not in kept]
    record = {
        name: entry for name, entry in folder.checkpoints.thinned().items() if not on_disk(name)
    }  # a thinning that was killed may have recorded more than it removed
    for checkpoint in going:
        if files := on_disk(checkpoint.name):
            sizes = {status.st_ino: status.st_size for status in map(Path.stat, files)}
            entry = {"step": checkpoint.step, "sha256": checkpoint.sha256}
            record[checkpoint.name] = {**entry, "bytes": sum(sizes.values())}
    folder.check()
    write_record(folder.checkpoints.thinned_record, record)
    for checkpoint in going:
        for path in on_disk(checkpoint.name):
            path.unlink()
    return {
        "fingerprint": folder.name,
        "kept": [
            {"file": f"checkpoints/{checkpoint.name}", "step": checkpoint.step, "why": why}
            for checkpoint, why in kept.items()
            if checkpoint.name not in record
        ],
        "removed": [
            {"file": f"checkpoints/{name}", **entry} for name, entry in sorted(record.items())
        ],
        "removed_before_but_asked_for_now": [
            f"checkpoints/{checkpoint.name}" for checkpoint in kept if checkpoint.name in record
        ],
        "bytes_freed": sum(entry["bytes"] for entry in record.values()),
    }
