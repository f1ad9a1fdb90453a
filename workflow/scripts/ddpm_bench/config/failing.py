"""What a stage does when it runs out of memory, diverges or crashes, and how much memory it has."""

from typing import Literal

from pydantic import Field

from ddpm_bench.config.keys import Keys, PositiveInt


class Failing(Keys):
    """Keys of the `run:` block of a stage whose failure can be recorded."""

    on_failure: Literal["stop", "record"] = Field(
        "stop",
        description="record: out of memory, divergence and crashes are recorded with their reason, "
        "their scores are empty, and the run goes on; changing a key of this block tries again. "
        "Members of a sweep: record, where nothing is said.",
    )
    memory_mb_per_process: PositiveInt | None = Field(
        None,
        description="Megabytes of its GPU, or on CPUs of memory, that a process may take; null: "
        "what there is, and on CPUs with `on_failure: record` most of what is free.",
    )
