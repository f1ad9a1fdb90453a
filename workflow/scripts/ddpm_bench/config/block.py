"""Base class and common types of the blocks of the config file."""

import json
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from ddpm_bench.config.messages import NAME_PATTERN, SHA256_PATTERN, described

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=80)]
Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]
PositiveInt = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True)
class AtMost:
    """An upper limit of a number, with the reason that a message gives for it."""

    limit: int
    reason: str

    @property
    def le(self) -> int:
        """The limit, under the name that other limits have in a key's metadata."""
        return self.limit

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Return the schema of the number with the check of the limit."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Return the JSON schema of the number with its maximum."""
        return {**handler(schema), "maximum": self.limit}

    def _checked(self, value: Any) -> Any:
        if value > self.limit:
            raise ValueError(f"must be at most {self.limit:,}: {self.reason}; lower it")
        return value


# Whole numbers above 0, each kind with the limit beyond which no study goes: a slip of the keyboard
# is then an error at once, and not hours of planning or a job that no machine can hold.
MOST_STEPS = AtMost(99_999_999, "names of files have eight digits for steps")
Steps = Annotated[PositiveInt, MOST_STEPS]
BatchSize = Annotated[
    PositiveInt, AtMost(1_048_576, "noise of a whole batch is drawn at each step")
]
MOST_IMAGES = AtMost(10**6, "names of files have six digits for images")
Images = Annotated[PositiveInt, MOST_IMAGES]
Channels = Annotated[
    PositiveInt, AtMost(65_536, "a layer of more has billions of weights, which no GPU holds")
]
Levels = Annotated[PositiveInt, AtMost(256, "no published network has as many")]
Cores = Annotated[PositiveInt, AtMost(4096, "no machine has more")]
Gpus = Annotated[PositiveInt, AtMost(1024, "no machine has more")]
Nodes = Annotated[PositiveInt, AtMost(10_000, "no cluster gives a job more")]
MOST_FORWARD_STEPS = AtMost(100_000, "published models have 4,000 at most")
ForwardSteps = Annotated[PositiveInt, MOST_FORWARD_STEPS]
MOST_CHECKPOINTS = 10_000
Checkpoints = Annotated[PositiveInt, AtMost(MOST_CHECKPOINTS, "no training has more checkpoints")]
MOST_REPEATS = AtMost(100_000, "the mean of as many has no visible error")
Repeats = Annotated[PositiveInt, MOST_REPEATS]
Megabytes = Annotated[PositiveInt, AtMost(10**8, "no machine has 100 terabytes of memory")]


def truth_for_number(value: Any, annotation: Any) -> str | None:
    """Return a message for true or false, or a list with one, where only numbers belong; or None.

    pydantic would take true as 1.
    """
    given = value if isinstance(value, list | tuple) else [value]
    if not any(isinstance(one, bool) for one in given):
        return None
    parts = set(_parts(annotation))
    is_number = parts & {int, float} and not parts & {bool, Any}
    return "must be a number; YAML reads yes and on as true" if is_number else None


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the types of the values that an annotation allows, but those in blocks."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        yield from map(type, inside)
    elif origin is Annotated:
        yield from _parts(inside[0])
    elif origin is not dict and inside:
        for part in inside:
            yield from _parts(part)
    else:
        yield annotation


class Block(BaseModel):
    """A block of keys: unknown keys are errors, values cannot be changed after loading."""

    # Aliases: a key may be a reserved word of Python, such as `from`.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, serialize_by_alias=True
    )

    def problems(self) -> Iterator[str]:
        """Yield a message for each contradiction between keys of this block, with its remedy."""
        yield from ()

    @staticmethod
    def described(error: ValidationError) -> str:
        """Return what is wrong with the keys of a block, on one line."""
        return described(error)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_no_truth_values(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        found: list[InitErrorDetails] = []
        for name, field in cls.model_fields.items():
            key = field.alias or name
            message = truth_for_number(data[key], field.annotation) if key in data else None
            if message:
                kind = PydanticCustomError("value_error", message)
                found.append({"type": kind, "loc": (key,), "input": data[key]})
        if found:
            raise ValidationError.from_exception_data(cls.__name__, found)
        return data

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
    memory_mb_per_process: Megabytes | None = Field(
        None,
        description="Memory limit of a process in megabytes: of its GPU, or of main memory on "
        "CPUs; null: no limit, but on CPUs with `on_failure: record` most of the free memory.",
    )
