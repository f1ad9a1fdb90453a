"""Which trainings begin anew because the config has changed, and why.

Imported at DAG time: the standard library and the configuration only.
"""

import json
from pathlib import Path
from typing import Any

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning.stages import train_stage

# Decides which weights are kept, not what they are.
CHECKPOINT_KEY = "train.checkpoint_every"
FOLLOWS_STEPS = (
    "The learning rate follows the whole length: to train on without beginning anew, set "
    "train.lr_schedule_steps to the longest training you plan"
)


def retrainings(config: Config) -> list[str]:
    """In words: the experiments whose training begins anew because their keys have changed."""
    notes = (retraining(config, experiment) for experiment in config.trainings)
    return [note for note in notes if note is not None]


def retraining(config: Config, experiment: str) -> str | None:
    """In words: why an experiment's training begins anew; None where it does not."""
    marker = Path(config.results_dir, experiment, "training", "current.json")
    if not marker.is_file():
        return None
    before = _flat(json.loads(marker.read_text(encoding="utf-8")).get("keys", {}))
    now = _flat(json.loads(train_stage(config, experiment)))
    changed = [
        f"{key} was {before.get(key, 'at its default')}, is {now.get(key, 'at its default')}"
        for key in sorted({*before, *now} - {CHECKPOINT_KEY})
        if before.get(key) != now.get(key)
    ]
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


def _flat(block: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as one level: {"train.seed": 0}."""
    flat: dict[str, Any] = {}
    for key, value in block.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
