"""Datasets and trainings that are made anew because the config has changed, and changed keys."""

import json
from typing import Any

from ddpm_bench.config.block import flat_keys
from ddpm_bench.config.experiment import Config
from ddpm_bench.config.training import KEYS_OF_KEPT_WEIGHTS
from ddpm_bench.planning.jobs import all_datasets
from ddpm_bench.planning.stages import prepare_stage, train_stage
from ddpm_bench.records.datasets import DatasetSummary
from ddpm_bench.records.job_record import JobRecords
from ddpm_bench.records.layout import current_training, dataset_summary, prepared_images
from ddpm_bench.records.manifests import CurrentTraining

FOLLOWS_STEPS = (
    "The learning rate follows the whole length: to train on without beginning anew, set "
    "train.lr_schedule_steps to the longest training you plan"
)
NAMES = {"version": "the version of this stage in ddpm-bench"}


def repreparations(config: Config) -> list[str]:
    """Return a note for each dataset whose images on disk were prepared with other keys."""
    notes = []
    records = JobRecords(config.results_dir, config.resources_dir)
    for name in all_datasets(config):
        record = records.read(str(prepared_images(config.results_dir, name, "train")))
        summary = DatasetSummary.read_if_there(dataset_summary(config.results_dir, name))
        if record is not None:
            before = flat_keys(record.params["what"])
            now = flat_keys(json.loads(prepare_stage(config, name)))
        elif summary is not None:  # of a version without records
            size = {"image_size", "channels"}
            before, now = summary.model_dump(include=size), config.datasets[name].model_dump()
        else:
            continue
        changed = _changes(before, now, set(now) - set(before) if record is None else set())
        if changed:
            notes.append(
                f"datasets.{name} is prepared anew, with all that follows from it, because "
                f"{'; '.join(changed)}. Where another config has these results, give each its own "
                "results_dir, or the dataset another name"
            )
    return notes


def _changes(before: dict[str, Any], now: dict[str, Any], unread: set[str]) -> list[str]:
    """Return a text for each key with another value, apart from those of `unread`."""
    return [
        f"{NAMES.get(key, key)} was {before.get(key, 'at its default')}, "
        f"is {now.get(key, 'at its default')}"
        for key in sorted({*before, *now} - unread)
        if before.get(key) != now.get(key)
    ]


def retrainings(config: Config) -> list[str]:
    """Return a note for each experiment whose training starts again because of changed keys."""
    notes = (retraining(config, experiment) for experiment in config.trainings)
    return [note for note in notes if note is not None]


def retraining(config: Config, experiment: str) -> str | None:
    """Return a note about the keys for which a training starts again; None if it does not."""
    current = CurrentTraining.read_if_there(current_training(config.results_dir, experiment))
    if current is None:
        return None
    before = flat_keys(current.keys)
    now = flat_keys(json.loads(train_stage(config, experiment)))
    changed = _changes(before, now, {f"train.{key}" for key in KEYS_OF_KEPT_WEIGHTS})
    if not (before and changed):
        return None
    kind = "experiments" if experiment in config.experiments else "autoencoders"
    return (
        f"{kind}.{experiment} is trained anew, because {'; '.join(changed)}. What was "
        "trained before is kept, and comes back with the keys of before"
        + (f". {FOLLOWS_STEPS}" if _follows_steps(config, experiment, changed) else "")
    )


def _follows_steps(config: Config, experiment: str, changed: list[str]) -> bool:
    own = config.trainings[experiment].train.lr_schedule_steps is not None
    return not own and any(note.startswith("train.lr_schedule_steps ") for note in changed)
