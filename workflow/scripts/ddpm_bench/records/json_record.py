"""Base of the JSON files that one stage writes and another reads."""

from pathlib import Path
from typing import Self

from ddpm_bench.config.block import Block
from ddpm_bench.files import write_json


class JsonRecord(Block):
    """A JSON file with these keys and no others."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file. Raises OSError or ValueError if it is missing, incomplete or wrong."""
        return cls.model_validate_json(path.read_bytes())

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
