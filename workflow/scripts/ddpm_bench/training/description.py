"""The description of a training job: its keys and steps, and the name of its training."""

from dataclasses import dataclass
from pathlib import Path

from ddpm_bench.config.block import canonical_json, what_keys
from ddpm_bench.config.training import KEYS_OF_KEPT_WEIGHTS, TrainRun, TrainStage
from ddpm_bench.files import sha256_text
from ddpm_bench.records.json_record import read_record


@dataclass(frozen=True)
class TrainingJob:
    """One piece of a training: after step `first` to step `last`."""

    first: int
    last: int
    stage: TrainStage
    run: TrainRun
    about: str  # the stage's JSON, stored with every checkpoint and in the manifest

    def checkpoint_steps(self) -> list[int]:
        """Return the steps after `first`, to `last`, whose checkpoints the job makes."""
        every = self.stage.train.checkpoint_every
        return list(range((self.first // every + 1) * every, self.last + 1, every))


def fingerprint(stage: TrainStage, images_sha256: str) -> str:
    """Return the name of a training: 16 hexadecimal digits of a hash of its keys and its images.

    The step that it stops at is left out. So is `checkpoint_every`, which decides the weights that
    are kept, not their values.
    """
    train = what_keys(stage.train, leave_out=KEYS_OF_KEPT_WEIGHTS)
    if stage.train.init_from is not None:
        train["init_from"] = stage.train.init_from.sha256
    keys = {
        "version": stage.version,
        "model": what_keys(stage.model),
        "diffusion": what_keys(stage.diffusion),
        "train": train,
        "images": images_sha256,
    }
    return sha256_text(canonical_json(keys))[:16]


@dataclass(frozen=True)
class JobRequest:
    """The arguments of train.py; `command` is the program with them, to be run in each process."""

    what: TrainStage
    how: TrainRun
    dataset: Path
    experiment: Path
    first: int
    last: int
    init_from: str | None
    output: Path
    renew_seconds: float
    command: list[str]

    def job(self) -> TrainingJob:
        """Return the job. The file of the weights that it begins with is not in it."""
        about = self.what.model_dump_json(exclude_defaults=True)
        return TrainingJob(self.first, self.last, self.what, self.how, about)

    def training_name(self) -> str:
        """Return the fingerprint of the training."""
        summary = read_record(self.dataset / "summary.json", "sha256")
        # Latents are named by what they were made from.
        return fingerprint(self.what, summary.get("identity") or summary["sha256"]["train"])
