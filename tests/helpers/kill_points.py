"""Every point of a program at which files change below a folder, by name; it can be killed there.

A point is just before a file is opened for writing, renamed, linked or removed, or a folder made:
so it is before a write, within one (what is to be renamed is there, and not in its place) or after
the one before it. A flush to disk is none: what SIGKILL leaves is the same before and after it.
Names hold no numbers, so that a point is the same in each run, such as "rename
checkpoints/step-#.safetensors". Points are seen where Python itself sees them (audit events): one
that is new in the code is a point by itself.
"""

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

CHANGES = {"os.rename": "rename", "os.link": "link", "os.remove": "remove", "os.rmdir": "remove",
           "os.mkdir": "mkdir"}  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR


def watch_points(folder: Path, reached: Callable[[str], None]) -> None:
    """Call `reached` with the name of each point below a folder, from now on."""

    def look(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str) and flags & WRITING:
                note("open", path)
        elif event in CHANGES:
            note(CHANGES[event], os.fspath(arguments[1 if event == "os.rename" else 0]))

    def note(what: str, path: str) -> None:
        full = str(Path.cwd() / path)
        if full.startswith(f"{folder}{os.sep}"):
            reached(f"{what} {without_numbers(full[len(str(folder)) + 1 :])}")

    sys.addaudithook(look)


def without_numbers(path: str) -> str:
    """A path with # for each number and fingerprint."""
    return re.sub(r"[0-9a-f]{16,}|\d+", "#", path)


def watch_as_asked() -> None:
    """Note points in the file $NOTE_POINTS, or die at the first of the name $KILL_AT; both are of
    the folder $POINTS_BELOW."""
    folder = os.environ.get("POINTS_BELOW")
    if folder is None:
        return
    if "KILL_AT" in os.environ:
        deadly = os.environ["KILL_AT"]
        watch_points(Path(folder), lambda name: die() if name == deadly else None)
    else:
        noted = os.open(os.environ["NOTE_POINTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        watch_points(Path(folder), lambda name: os.write(noted, f"{name}\n".encode()))


def die() -> None:
    """SIGKILL for this process, and for all of its training where it is one of several."""
    if "RANK" in os.environ:
        launcher = psutil.Process(os.getppid())
        others = [one for one in launcher.children() if one.pid != os.getpid()]
        for one in (launcher, *others):
            one.kill()
    os.kill(os.getpid(), signal.SIGKILL)
