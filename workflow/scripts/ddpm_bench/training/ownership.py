"""One trainer owns an experiment at a time, on one machine and across machines.

    training/owner.lock                  locked (flock) while the owner lives
    training/owner.json                  who the owner is; `released` when it ended by itself
    training/owner.<token>.heartbeat     written anew by the owner every few seconds

The kernel frees the lock of a process that is gone, so a free lock proves an owner on the same
machine gone. Some file systems of clusters do not carry locks from node to node: there a free lock
proves nothing, and an owner counts as gone when its heartbeat has stood still for long, by the
clock of whoever watches. An owner that had only stalled then finds, before it publishes anything,
that it is no longer named in owner.json.

On SLURM an owner may live on after its job has left it: a node is given up for dead, the job runs
on another. Whoever follows asks it to leave; it saves, and the other goes on from there.

    training/owner.<token>.leave         asks that owner to save and to leave
"""

import errno
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from ddpm_bench.errors import UserError
from ddpm_bench.files import write_json
from ddpm_bench.machine.host import boot_id, is_this_machine
from ddpm_bench.machine.slurm_job import has_left, job_id, node_name

RENEW_SECONDS = 10.0
MISSED_RENEWALS = 9  # after so many an owner on another machine counts as gone
LEAVE_SECONDS = 600.0  # within which an owner that is asked to leave does
RELEASED_SECONDS = 10.0  # between an owner's release and its end
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of file systems


class Description(BaseModel):
    """The content of owner.json; a file of an older version has fewer keys."""

    token: str
    host: str
    boot_id: str | None = None
    process: int
    slurm_job: str | None = None
    slurm_node: str | None = None
    since: str
    renew_seconds: float = RENEW_SECONDS
    released: bool = False

    def who(self, folder: Path) -> str:
        """Return the owner in words: process, host, SLURM job, its start and its last heartbeat."""
        job = f", SLURM job {self.slurm_job}" if self.slurm_job else ""
        renewed = last_renewal(folder, self.token)
        heard = f", last renewed {renewed}" if renewed else ""
        return f"process {self.process} on {self.host}{job}, since {self.since}{heard}"

    def is_of_this_machine(self) -> bool:
        """Return True if the owner runs, or ran, on this machine in this boot."""
        return is_this_machine(self.boot_id, self.host)

    def is_left_by_its_job(self) -> bool:
        """Return True if SLURM is sure that the owner's job is not on its node (any more)."""
        return has_left(self.slurm_job, self.slurm_node)


class Owner:
    """The right to write into an experiment's training folder."""

    def __init__(self, folder: Path, renew_seconds: float = RENEW_SECONDS) -> None:
        self._folder = folder
        self._ended = threading.Event()
        self.description = Description(
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            boot_id=boot_id(),
            process=os.getpid(),
            slurm_job=job_id(),
            slurm_node=node_name(),
            since=_now(),
            renew_seconds=renew_seconds,
        )
        # The heartbeat first: whoever reads owner.json finds it.
        self._heartbeat = _heartbeat(folder, self.description.token)
        self._heartbeat.write_text(_now())
        write_json(folder / "owner.json", self.description.model_dump())
        self._leave = _leave_request(folder, self.description.token)
        for earlier in (*folder.glob("owner.*.heartbeat"), *folder.glob("owner.*.leave")):
            if earlier not in (self._heartbeat, self._leave):
                earlier.unlink(missing_ok=True)
        self.asked_to_leave = False
        self._thread = threading.Thread(target=self._renew, name="owner", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise UserError if another trainer has taken over; to be called before each publish."""
        named = read_description(self._folder)
        if named is None:
            raise UserError(
                f"{self._folder / 'owner.json'} is missing or damaged, so that this trainer "
                "cannot show that the experiment is still its own; it stops without writing "
                "anything more. Run snakemake again: it goes on from the last saved state"
            )
        if named.token != self.description.token:
            raise UserError(
                f"another trainer has taken this experiment over ({named.who(self._folder)}); "
                "this one stops without writing anything more"
            )

    def _renew(self) -> None:
        """Write this owner's heartbeat every few seconds, until a new owner removes it."""
        while not self._ended.wait(self.description.renew_seconds):
            self.asked_to_leave = self.asked_to_leave or self._leave.exists()
            try:
                with self._heartbeat.open("r+") as file:
                    file.write(_now())
            except FileNotFoundError:
                return
            except OSError:
                continue  # a file system that does not answer now may do so later

    def release(self) -> None:
        """Mark the experiment as owned by nobody, unless another trainer has taken it over."""
        self._ended.set()
        self._thread.join()
        named = read_description(self._folder)
        if named is not None and named.token == self.description.token:
            released = self.description.model_copy(update={"released": True})
            write_json(self._folder / "owner.json", released.model_dump())
        self._heartbeat.unlink(missing_ok=True)
        self._leave.unlink(missing_ok=True)


@contextmanager
def owning(folder: Path, renew_seconds: float = RENEW_SECONDS) -> Iterator[Owner]:
    """Own a training folder until the block ends. Raises UserError with its holder, if it has one.

    A holder that its SLURM job has left is asked to save and end, and waited for. renew_seconds:
    the time between an owner's heartbeats. Where its machine cannot be asked, nine times that
    without one are taken for its end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "owner.lock", fallback_to_soft=False)
    with _locked(lock, folder) as locks_work:
        before = read_description(folder)
        unreleased = before is not None and not before.released
        # On this machine it would hold the lock, did it live.
        if unreleased and not (locks_work and before.is_of_this_machine()):
            _watch(folder, before)
        owner = Owner(folder, renew_seconds)
        try:
            yield owner
        except OSError:
            # What could not be written may have been removed by a new owner.
            owner.check()
            raise
        finally:
            with suppress(OSError, UserError):  # a full disk: then the lock alone says it
                owner.release()


@contextmanager
def _locked(lock: FileLock, folder: Path) -> Iterator[bool]:
    """Hold a lock until the block ends; yields True if the file system has locks.

    Raises UserError when another holds it.
    """
    try:
        _acquire(lock, folder)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _acquire(lock: FileLock, folder: Path) -> None:
    """Take a lock, and wait for a holder that is about to end.

    Raises UserError when another holds it.
    """
    try:
        lock.acquire(timeout=0)
        return
    except Timeout:
        holder = read_description(folder)
    seconds = 0.0
    if holder is not None and holder.released:
        seconds = RELEASED_SECONDS
    elif holder is not None and holder.is_left_by_its_job():
        _ask_to_leave(folder, holder)
        seconds = LEAVE_SECONDS
    try:
        lock.acquire(timeout=seconds, poll_interval=0.5)
    except Timeout:
        raise UserError(_held(folder, read_description(folder))) from None


def _ask_to_leave(folder: Path, holder: Description) -> None:
    print(
        f"{folder} is owned by {holder.who(folder)}, which SLURM has sent away from "
        f"{holder.slurm_node}: it is asked to save and leave, and waited for, {LEAVE_SECONDS:g} "
        "seconds at most",
        file=sys.stderr,
        flush=True,
    )
    _leave_request(folder, holder.token).touch()


def _watch(folder: Path, holder: Description) -> None:
    """Return once a holder has had no heartbeat for long.

    Raises UserError when it has one, and has no reason to end, or does not.
    """
    left = holder.is_left_by_its_job()
    if left:
        _ask_to_leave(folder, holder)
    longest = time.monotonic() + (LEAVE_SECONDS if left else 0)
    seconds = MISSED_RENEWALS * holder.renew_seconds
    print(
        f"{folder} was being trained by {holder.who(folder)}, which has not said that it ended: "
        f"waiting up to {seconds:g} seconds for a sign that it lives",
        file=sys.stderr,
        flush=True,
    )
    heartbeat = _heartbeat(folder, holder.token)
    last = _read(heartbeat)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(min(1.0, seconds / 20))
        named = read_description(folder)
        if named is not None and named.token == holder.token and named.released:
            return
        renewed = _read(heartbeat)
        if named != holder or (renewed != last and time.monotonic() > longest):
            raise UserError(_held(folder, named))
        if renewed != last:
            last, deadline = renewed, time.monotonic() + seconds
    print(
        f"it has given none: {folder} is taken over from process {holder.process} on {holder.host}",
        file=sys.stderr,
        flush=True,
    )


def _held(folder: Path, holder: Description | None) -> str:
    """Return the error of a folder that another trainer holds."""
    who = "a trainer that has not said who it is" if holder is None else holder.who(folder)
    return (
        f"{folder} is being trained by {who}; wait for it to end, or stop it, "
        "then run snakemake again: it goes on from the last saved state"
    )


def read_description(folder: Path) -> Description | None:
    """Return the content of owner.json; None where it is missing or damaged."""
    try:
        return Description.model_validate(json.loads((folder / "owner.json").read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None


def last_renewal(folder: Path, token: str) -> str:
    """Return the time of an owner's last heartbeat, ISO 8601; empty where there is none."""
    return _read(_heartbeat(folder, token))


def _heartbeat(folder: Path, token: str) -> Path:
    return folder / f"owner.{token}.heartbeat"


def _leave_request(folder: Path, token: str) -> Path:
    return folder / f"owner.{token}.leave"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
