"""Base of the JSON files that one stage writes and another reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from ddpm_bench.config.block import Block
from ddpm_bench.config.messages import in_our_words
from ddpm_bench.errors import UserError
from ddpm_bench.files import RECORD_CHECKSUM, read_json, write_json

ANEW = "delete it and run snakemake again"  # the remedy for an output of a job


def read_record(path: Path, *keys: str, remedy: str = ANEW) -> dict[str, Any]:
    """Read a JSON file that must hold these keys.

    Raises UserError with the remedy if it is missing, damaged or another file.
    """
    try:
        found = read_json(path)
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
        if lacking := [key for key in keys if key not in found]:
            raise ValueError(f"it lacks {', '.join(lacking)}")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: missing or damaged ({error}); {remedy}") from None
    return found


def problems(error: ValueError) -> Iterator[str]:
    """Yield what is wrong with a record, each in one line: missing keys, unknown keys, values."""
    if not isinstance(error, ValidationError):
        yield str(error)
        return
    kinds: dict[str, list[str]] = {"missing": [], "extra_forbidden": []}
    others = []
    for problem in error.errors():
        name = ".".join(map(str, problem["loc"])) or "the file"
        if problem["type"] in kinds:
            kinds[problem["type"]].append(name)
        else:
            others.append(f"{name}: {in_our_words([problem])}")
    missing, unknown = kinds.values()
    if missing:
        yield f"lacks {', '.join(missing)}"
    if unknown:
        yield f"has unknown keys {', '.join(unknown)}"
    yield from others


class JsonRecord(Block):
    """A JSON file with these keys and no others, but for its checksum."""

    @model_validator(mode="before")
    @classmethod
    def _without_checksum(cls, value: Any) -> Any:
        """Leave the checksum out, which `read` has checked."""
        if not isinstance(value, dict):
            return value
        return {key: held for key, held in value.items() if key != RECORD_CHECKSUM}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file. Raises OSError or ValueError if it is missing, damaged or wrong."""
        return cls.model_validate(read_json(path))

    @classmethod
    def read_if_there(cls, path: Path) -> Self | None:
        """Read a file; return None if it is missing, incomplete or of another version."""
        try:
            return cls.read(path)
        except (OSError, ValueError):
            return None

    def write(self, path: Path) -> None:
        """Write the keys that were given, not those at their defaults."""
        write_json(path, self.model_dump(mode="json", exclude_unset=True))
