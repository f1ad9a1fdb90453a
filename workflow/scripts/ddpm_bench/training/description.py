"""The description of a training job, and the name of the training that it belongs to."""

from dataclasses import dataclass

from ddpm_bench.config.block import canonical_json, what_keys
from ddpm_bench.config.training import TrainRun, TrainStage
from ddpm_bench.files import sha256_text


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
    train = what_keys(stage.train, leave_out=frozenset({"checkpoint_every"}))
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
