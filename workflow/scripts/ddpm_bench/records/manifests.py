"""Records of trainings: the manifest of each job, and the training that an experiment has now."""

from typing import Any

from pydantic import Field

from ddpm_bench.config.block import PositiveInt, Sha256
from ddpm_bench.records.failures import RecordedFailure
from ddpm_bench.records.json_record import JsonRecord


class CheckpointEntry(JsonRecord):
    """One file of averaged weights in a manifest."""

    step: PositiveInt
    file: str  # relative to the experiment's folder
    sha256: Sha256
    ema_sigma_rel: float | None = None  # width of a further average; None: the one of ema_decay


class JobManifest(JsonRecord):
    """The file job-<first>-<last>.json of a training job: its checkpoints."""

    fingerprint: str  # of all that determines the weights: the name of the training's folder
    first_step: int  # the job trains after this step
    last_step: int
    checkpoints: tuple[CheckpointEntry, ...]
    keys: dict[str, Any]  # of its TrainStage, without defaults
    autoencoder: dict[str, Any] | None = None  # in whose latents the training is
    failed: RecordedFailure | None = None


class CurrentTraining(JsonRecord):
    """The file current.json: the training whose results an experiment shows."""

    fingerprint: str
    keys: dict[str, Any] = Field(default_factory=dict)  # of its TrainStage, without defaults
