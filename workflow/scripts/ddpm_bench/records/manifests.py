"""Record of the training that an experiment has now."""

from typing import Any

from pydantic import Field

from ddpm_bench.records.json_record import JsonRecord


class CurrentTraining(JsonRecord):
    """The file current.json: the training whose results an experiment shows."""

    fingerprint: str
    keys: dict[str, Any] = Field(default_factory=dict)  # of its TrainStage, without defaults
