"""The request of a GPU check: the options of its command line."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CheckRequest:
    """Options of the command, which starts itself again for each part.

    parts: names of those to run, () for all; minutes: of all parts together; output: JSON file,
    None for a name of its own below reports/; keep: folder for logs and files, None for one that is
    removed at the end.
    """

    program: Path
    parts: tuple[str, ...]
    minutes: float
    stand_ins: bool
    output: Path | None
    keep: Path | None
