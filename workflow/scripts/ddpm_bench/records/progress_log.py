"""What progress.jsonl tells of a training: where it stands, how fast it is, what it has taken.

Each attempt of a job begins with an event "started" or "resumed" and ends with "job ended" or with
"stopped by a signal", or with nothing when it was killed. Imports the standard library only.
"""

import itertools
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

BEGINS = ("started", "resumed")
ENDS = ("job ended", "stopped")  # and why it stopped
ROWS_FOR_SPEED = 20


@dataclass(frozen=True)
class Attempt:
    """One process's stretch of a training, as far as it told."""

    first: int  # step that it began at
    step: int  # that it was last heard at
    saved: int  # last step that is kept should it die
    began: datetime
    heard: datetime
    ended: bool  # by itself
    images_per_second: float | None  # mean of its newest reports

    @property
    def seconds(self) -> float:
        return (self.heard - self.began).total_seconds()


def read_attempts(path: Path) -> list[Attempt]:
    """The attempts of progress.jsonl, in order; [] where it is missing. A half line is left out."""
    return [_attempt(events) for events in _by_attempt(read_events(path))]


def read_events(path: Path) -> list[dict[str, Any]]:
    """The whole lines of progress.jsonl, `time` as a datetime; [] where it is missing."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    events = []
    for line in lines:
        try:
            event = json.loads(line)
            event["time"] = datetime.fromisoformat(event["time"])
        except (ValueError, TypeError, KeyError):
            continue  # a process was killed while it wrote
        events.append(event)
    return events


@dataclass(frozen=True)
class Taken:
    """What a training has taken: time of the wall clock, and that times its processes."""

    wall_seconds: float = 0.0
    process_seconds: float = 0.0


def taken_until(events: list[dict[str, Any]], steps: list[int]) -> dict[int, Taken]:
    """What a training had taken when it first reached each of these steps, over all attempts: what
    one that was killed did in vain counts. Between events time is interpolated; steps that were not
    reached are not in it.

    events: as of `read_events`.
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


def processes_of(event: dict[str, Any]) -> int:
    """How many processes an attempt has, as its first event says."""
    run = event.get("run", {})
    return int(run.get("gpus", 1)) * int(run.get("nodes", 1))


def _by_attempt(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    attempts: list[list[dict[str, Any]]] = []
    for event in events:
        if event["event"] in BEGINS or not attempts:
            attempts.append([])
        attempts[-1].append(event)
    return attempts


def _attempt(events: list[dict[str, Any]]) -> Attempt:
    first, last = events[0], events[-1]
    saved = [event["step"] for event in events if event["event"] == "state saved"]
    speeds = [event["images_per_second"] for event in events if event.get("images_per_second")]
    newest = speeds[1:][-ROWS_FOR_SPEED:] or speeds  # the first has the warm-up in it
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
