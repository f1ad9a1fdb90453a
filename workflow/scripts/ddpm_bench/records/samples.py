"""Record beside each file of samples: the time that drawing took, and the file's checksum."""

from ddpm_bench.config.block import Sha256
from ddpm_bench.records.json_record import JsonRecord


class SampleTiming(JsonRecord):
    """The file images-<first>-<last>.json of drawn samples; that of failed ones is no timing."""

    images: int
    seconds: float  # of drawing, without start-up and loading
    batch_size: int
    precision: str
    device: str
    network_evaluations: int  # per image
    # Older files do not have these. From `started` on: of its job, from when it had its GPU.
    sha256: Sha256 | None = None  # of the file of samples
    started: str | None = None  # UTC, ISO 8601
    ended: str | None = None
    node: str | None = None
    gpus: list[str] | None = None
    slurm_job: str | None = None
