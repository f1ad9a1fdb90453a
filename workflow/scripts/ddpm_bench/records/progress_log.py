"""Events of a training in progress.jsonl: its steps, speed and time.

Each attempt of a job begins with an event "started" or "resumed" and ends with "job ended" or with
"stopped by a signal", or without such an event if it was killed. Each line has a checksum; those of
earlier versions have none.
"""

import itertools
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from ddpm_bench.errors import UserError
from ddpm_bench.records.json_record import read_record

BEGINS = ("started", "resumed")
ENDS = ("job ended", "stopped")  # "stopped" is followed by the reason
ROWS_FOR_SPEED = 20
LINE_CHECKSUM = "crc32"  # key of a line: the checksum of all others


class ProgressEvent(TypedDict):
    """One line of progress.jsonl."""

    time: datetime  # ISO 8601 with UTC's offset in the file
    event: str  # started, resumed, trained, state saved, job ended, stopped by ...
    step: int
    run: NotRequired[dict[str, Any]]  # keys of train.run without defaults, of the first event
    images_per_second: NotRequired[float]  # of "trained"


@dataclass(frozen=True)
class Attempt:
    """One attempt of a training job, from its first to its last event."""

    first: int  # first step
    step: int  # step of the last event
    saved: int  # last saved step, from which training goes on if the process dies
    began: datetime
    heard: datetime  # time of the last event
    ended: bool  # with an event, and not killed
    images_per_second: float | None  # mean of the newest reports

    @property
    def seconds(self) -> float:
        """Time from the first to the last event."""
        return (self.heard - self.began).total_seconds()


def read_attempts(path: Path) -> list[Attempt]:
    """Return the attempts in progress.jsonl, in order; [] if it is missing."""
    return [_attempt(events) for events in _by_attempt(read_events(path))]


def read_events(path: Path) -> list[ProgressEvent]:
    """Return the whole lines of progress.jsonl, `time` as a datetime; [] if it is missing."""
    try:
        lines = _lines(path)
    except OSError:
        return []
    # A process may have been killed while it wrote.
    return [event for line in lines if (event := _event(line)) is not None]


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode(errors="replace").splitlines()


def _event(line: str) -> ProgressEvent | None:
    """Return the event of a line; None if the line is not whole."""
    try:
        event = json.loads(line)
        checksum = event.pop(LINE_CHECKSUM, None)
        if checksum not in (None, _crc32(event)):
            return None
        event["time"] = datetime.fromisoformat(event["time"])
        return event if isinstance(event["event"], str) and event["step"] >= 0 else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def with_line_checksum(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event, for JSON, with the checksum of its line."""
    return {**event, LINE_CHECKSUM: _crc32(event)}


def _crc32(event: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(event).encode()):08x}"


def check_progress(path: Path) -> None:
    """Raise UserError if a published progress.jsonl lacks lines that its training has written.

    A line that is not whole is no damage at the end of an attempt: its process was killed. The last
    step of the finished jobs is in the log. A missing file passes.
    """
    if not path.exists():
        return
    lines = _lines(path)
    events = list(map(_event, lines))
    for line, event, following in itertools.zip_longest(lines, events, events[1:]):
        ends = following is None or following["event"] in BEGINS
        # An attempt that follows a half-written line may go on in that line.
        killed = (ends and not line.endswith("}")) or line.count('{"time"') > 1
        if event is None and not killed:
            raise _damaged(path, f"a line is not whole: {line[:80]!r}")
    last = max((event["step"] for event in events if event is not None), default=0)
    if last < (trained := _last_step(path.parent / "training")):
        raise _damaged(path, f"it ends at step {last} of {trained}")


def _last_step(training: Path) -> int:
    """Return the last step of the finished jobs of an experiment's present training."""
    current = training / "current.json"
    if not current.exists():
        return 0
    name = read_record(current, "fingerprint")["fingerprint"]
    manifests = map(read_record, training.glob("job-*.json"))
    ours = (found for found in manifests if found.get("fingerprint") == name)
    return max((found["last_step"] for found in ours if "failed" not in found), default=0)


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: damaged ({reason}); delete it: the hours of this training are then left out"
    )


@dataclass(frozen=True)
class Taken:
    """Time of a training: by the wall clock, and multiplied by its number of processes."""

    wall_seconds: float = 0.0
    process_seconds: float = 0.0


def taken_until(events: list[ProgressEvent], steps: list[int]) -> dict[int, Taken]:
    """Return the time of a training until it first reached each of these steps, over all attempts.

    Lost work of killed attempts counts. Between events time is interpolated; steps that were not
    reached are left out. events: from `read_events`.
    """
    waiting = sorted(set(steps))
    found: dict[int, Taken] = {}
    wall = process = 0.0
    for attempt in _by_attempt(events):
        processes = processes_of(attempt[0])
        for before, event in itertools.pairwise(attempt):
            seconds = (event["time"] - before["time"]).total_seconds()
            while waiting and waiting[0] <= event["step"]:
                step = waiting.pop(0)
                done = event["step"] - before["step"]
                share = min(1.0, (step - before["step"]) / done) if done > 0 else 1.0
                here = max(0.0, share) * seconds
                found[step] = Taken(wall + here, process + processes * here)
            wall, process = wall + seconds, process + processes * seconds
    return found


def processes_of(event: ProgressEvent) -> int:
    """Return the number of processes of an attempt from its first event."""
    run = event.get("run", {})
    return int(run.get("gpus", 1)) * int(run.get("nodes", 1))


def _by_attempt(events: list[ProgressEvent]) -> list[list[ProgressEvent]]:
    attempts: list[list[ProgressEvent]] = []
    for event in events:
        if event["event"] in BEGINS or not attempts:
            attempts.append([])
        attempts[-1].append(event)
    return attempts


def _attempt(events: list[ProgressEvent]) -> Attempt:
    first, last = events[0], events[-1]
    saved = [event["step"] for event in events if event["event"] == "state saved"]
    speeds = [event["images_per_second"] for event in events if event.get("images_per_second")]
    newest = speeds[1:][-ROWS_FOR_SPEED:] or speeds  # the first includes the warm-up
    return Attempt(
        first=first["step"],
        step=last["step"],
        saved=saved[-1] if saved else first["step"],
        began=first["time"],
        heard=last["time"],
        ended=last["event"].startswith(ENDS),
        # Equal numbers of images each: the mean speed is the harmonic mean.
        images_per_second=len(newest) / sum(1 / speed for speed in newest) if newest else None,
    )
