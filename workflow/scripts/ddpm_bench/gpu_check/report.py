"""The report of the GPU check: a table for people, and a JSON file for other programs."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ddpm_bench.files import write_json
from ddpm_bench.gpu_check.part import Check, Part
from ddpm_bench.gpu_check.request import CheckRequest
from ddpm_bench.text import counted

VERSION = 1
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


def write_report(results: list[PartResult], request: CheckRequest) -> Path:
    """Write the report as JSON and return its path.

    Without a name of the user's it is named by GPU and time, so that none is replaced.
    """
    facts = _facts(results)
    now = datetime.now(UTC)
    path = request.output
    if path is None:
        gpu = "stand-ins" if request.stand_ins else facts.get("gpu", "unknown")
        slug = re.sub(r"[^A-Za-z0-9]+", "-", gpu).strip("-").lower()
        path = Path("reports", f"gpu-check-{slug}-{now:%Y%m%dT%H%M%SZ}.json")
    content = {
        "version": VERSION,
        "finished": now.isoformat(timespec="seconds"),
        "stand_ins": request.stand_ins,
        "machine": facts,
        "parts": [
            {
                "name": result.part.name,
                "seconds": round(result.seconds, 1),
                "checks": [asdict(check) for check in result.checks],
            }
            for result in results
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    return path


def _facts(results: list[PartResult]) -> dict[str, Any]:
    """Return the numbers of the part about the machine: names and versions."""
    found: dict[str, Any] = {}
    for result in results:
        if result.part.name == "machine":
            for check in result.checks:
                found |= check.numbers
    return found
