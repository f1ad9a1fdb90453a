"""One trainer owns an experiment at a time."""

import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from .files import write_json
from .program import UserError


class Owner:
    """The right to write into an experiment's training folder."""

    def __init__(self, description: Path) -> None:
        self._description = description
        self._token = uuid.uuid4().hex
        write_json(
            description,
            {
                "token": self._token,
                "host": socket.gethostname(),
                "process": os.getpid(),
                "slurm_job": os.environ.get("SLURM_JOB_ID"),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    def check(self) -> None:
        """Raise UserError if another trainer has taken over; to be called before each publish."""
        if json.loads(self._description.read_text())["token"] != self._token:
            raise UserError(
                f"another trainer has taken this experiment over ({who(self._description)}); "
                "this one stops without writing anything more"
            )


@contextmanager
def owning(folder: Path) -> Iterator[Owner]:
    """Own a training folder until the block ends. Raises UserError naming who holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    description = folder / "owner.json"
    lock = FileLock(folder / "owner.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{folder} is being trained by {who(description)}; wait for it to end, or stop it, "
            "then run snakemake again: it goes on from the last saved state"
        ) from None
    try:
        yield Owner(description)
    finally:
        lock.release()


def who(description: Path) -> str:
    """The owner in words: process, host, SLURM job, since when."""
    try:
        owner = json.loads(description.read_text())
    except (OSError, ValueError):
        return "a trainer that has not said who it is"
    job = f", SLURM job {owner['slurm_job']}" if owner["slurm_job"] else ""
    return f"process {owner['process']} on {owner['host']}{job}, since {owner['since']}"
