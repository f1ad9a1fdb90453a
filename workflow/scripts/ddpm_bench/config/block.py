"""Base class and common types of the blocks of the config file."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# A name becomes a folder and a part of a figure's title: letters, digits and . _ - only.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PositiveInt = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Block(BaseModel):
    """A block of keys: unknown keys are errors, values cannot be changed after loading."""

    # Aliases: a key may be a reserved word of Python, such as `from`.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True
    )

    def problems(self) -> Iterator[str]:
        """Yield a message for each contradiction between keys of this block, with its remedy."""
        yield from ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        found = list(self.problems())
        if found:
            raise ValueError("; ".join(found))
        return self


def what_keys(block: Block, *, leave_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the keys that decide *what* is computed, without those at their defaults.

    `run` (how a stage is run) is always left out, so that changing it makes nothing stale;
    keys at their defaults too, so that a new optional key makes nothing stale either.
    """
    return block.model_dump(mode="json", exclude_defaults=True, exclude={"run", *leave_out})


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def flat_keys(block: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested keys on one level: {"train.seed": 0}."""
    flat: dict[str, Any] = {}
    for key, value in block.items():
        if isinstance(value, dict):
            flat |= flat_keys(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def run_keys(block: Block) -> str:
    """Return a `run:` block as one line of JSON: `--how` of a stage's program."""
    return canonical_json(block.model_dump(mode="json", exclude_defaults=True))


class Failing(Block):
    """Keys of the `run:` block of a stage whose failure can be recorded."""

    on_failure: Literal["stop", "record"] = Field(
        "stop",
        description="stop: a failure ends the run; record: out of memory, divergence and crashes "
        "are recorded with their reason, their scores are empty, and the run goes on; changing a "
        "key of this block tries again. The default for members of a sweep is record.",
    )
    memory_mb_per_process: PositiveInt | None = Field(
        None,
        description="Memory limit of a process in megabytes: of its GPU, or of main memory on "
        "CPUs; null: no limit, but on CPUs with `on_failure: record` most of the free memory.",
    )
