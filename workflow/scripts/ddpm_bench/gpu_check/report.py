"""The report of the GPU check: a table for people, and a JSON file for other programs."""

import re
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from ddpm_bench.errors import UserError
from ddpm_bench.files import write_json
from ddpm_bench.gpu_check.part import Check, Part
from ddpm_bench.gpu_check.request import CheckRequest
from ddpm_bench.text import counted

VERSION = 1
FOLDER = Path("reports")  # below the current one
ROOM = 100_000  # bytes, more than a report takes
WIDTH = 100  # columns of the text
OUTCOMES = ("pass", "fail", "measured", "not run")


@dataclass(frozen=True)
class PartResult:
    """The checks of a part, and the seconds that it took."""

    part: Part
    seconds: float
    checks: tuple[Check, ...]

    def failed(self) -> bool:
        """Return True if a check of the part failed."""
        return any(check.outcome == "fail" for check in self.checks)


def check_line(check: Check) -> str:
    """Return a check as a line of text."""
    return f"{check.outcome:8}  {check.name}: {check.found}"


def end_of_check(results: list[PartResult], stand_ins: bool, path: Path) -> Iterator[str]:
    """Yield the lines that follow the last part: a table, remedies, and the name of the JSON file.

    stand_ins: whether devices were stand-ins; then what they do not show is listed.
    """
    rows = [("part", "seconds", *OUTCOMES)]
    for result in results:
        outcomes = [check.outcome for check in result.checks]
        counts = [str(outcomes.count(outcome) or "") for outcome in OUTCOMES]
        rows.append((result.part.name, f"{result.seconds:.0f}", *counts))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    yield ""
    for name, *numbers in rows:
        right = (text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *right]).rstrip()
    yield ""
    for result in results:
        for check in result.checks:
            if check.outcome == "fail" or check.remedy:
                yield from _wrapped(f"{result.part.name}: {check_line(check)}")
                yield from _wrapped(f"    what to do: {check.remedy}" if check.remedy else "")
    if stand_ins:
        yield "Stand-ins computed on the CPU. They do not show:"
        for result in results:
            yield from _wrapped(f"  {result.part.name}: {result.part.unseen or 'anything'}")
    checks = [check for result in results for check in result.checks]
    failed = sum(check.outcome == "fail" for check in checks)
    left_out = sum(check.outcome == "not run" for check in checks)
    ends = f"{counted(failed, 'check')} failed" if failed else "no check failed"
    yield f"{ends}, {left_out} not run, {counted(len(checks), 'check')} in all; {path}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="      ", break_long_words=False)


class Report:
    """The report of a check as a JSON file, written anew with each result.

    results: those so far; path: of the file, None before the first without a name of the user's:
    then it is named by GPU and time, so that none is replaced.
    """

    def __init__(self, request: CheckRequest) -> None:
        self.results: list[PartResult] = []
        self.path = request.output
        self._stand_ins, self._error = request.stand_ins, None

    def add(self, result: PartResult) -> None:
        """Add a part's result and write the file; an error in writing it ends no check."""
        self.results.append(result)
        if self.path is None:
            self.path = self._new_path()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self._content())
        except OSError as error:
            self._error = error
        else:
            self._error = None

    def _new_path(self) -> Path:
        """Return the name of a file that is not there, by the GPU, the time and a number."""
        gpu = "stand-ins" if self._stand_ins else _facts(self.results).get("gpu", "unknown")
        slug = re.sub(r"[^A-Za-z0-9]+", "-", gpu).strip("-").lower()
        name = f"gpu-check-{slug}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        names = (f"{name}{number}.json" for number in chain([""], map("-{}".format, count(2))))
        return next(path for path in map(FOLDER.joinpath, names) if not path.exists())

    def raise_unless_written(self) -> None:
        """Raise UserError where the file could not be written with the last result."""
        if self._error is not None:
            raise _refused(self.path or FOLDER, self._error)

    def _content(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "stand_ins": self._stand_ins,
            "machine": _facts(self.results),
            "parts": [
                {
                    "name": result.part.name,
                    "seconds": round(result.seconds, 1),
                    "checks": [asdict(check) for check in result.checks],
                }
                for result in self.results
            ],
        }


def check_place_of_report(request: CheckRequest) -> None:
    """Raise UserError where the report's folder takes no file; make the folder."""
    folder = FOLDER if request.output is None else request.output.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
            file.flush()
    except OSError as error:
        raise _refused(folder, error) from None


def _refused(place: Path, error: OSError) -> UserError:
    """Return the error of a report that cannot be written."""
    return UserError(
        f"{place}: the report cannot be written there ({error.strerror or error}); name another "
        "file: --output FILE"
    )


def _facts(results: list[PartResult]) -> dict[str, Any]:
    """Return the numbers of the part about the machine: names and versions."""
    found: dict[str, Any] = {}
    for result in results:
        if result.part.name == "machine":
            for check in result.checks:
                found |= check.numbers
    return found
