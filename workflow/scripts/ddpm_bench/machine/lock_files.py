"""Locks of a machine's GPUs: files in a folder that users of the machine share.

The folder lies where everybody may write, so nothing in it is trusted: no link is followed, nothing
is written into a file, and only what this process has made gets another mode. Who holds a lock is
read from the kernel's list.
"""

import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ddpm_bench.errors import UserError
from ddpm_bench.machine.slurm_job import job_id, node_name

POLL_SECONDS = 0.05
MODE_SECONDS = 1.0  # in which another user's process gives what it has just made its mode
KERNEL_LOCKS = Path("/proc/locks")
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
SUFFIX = ".lock"
ALLOCATOR = "allocator"  # of a job that is choosing its GPUs
PLACE = "DDPM_BENCH_DEVICE_LOCKS"  # names the folder that the folder of the locks lies in
ELSEWHERE = f"set {PLACE} to a folder that all its users may write"


def lock_folder() -> Path:
    """Return the folder of the locks: one for all users of a machine, or of a SLURM job's node.

    It lies in DDPM_BENCH_DEVICE_LOCKS, or in the folder for temporary files.
    """
    job = job_id()
    ours = f"ddpm-bench-devices-{os.getuid()}-slurm-{job}-{node_name() or ''}"
    name = ours if job else "ddpm-bench-devices"
    return Path(os.environ.get(PLACE, tempfile.gettempdir())) / name


class RemovedError(Exception):
    """A folder of locks that another process removed after this one opened it."""


@contextmanager
def open_lock_folder() -> Iterator["LockFolder"]:
    """Open the folder of the locks, and make it where it is missing, until the block ends.

    All users may write into the folder of a machine, and none but this one into that of a SLURM
    job. Raises UserError where it is a link, no folder, or another user's who does not share it.
    """
    path, private = lock_folder(), job_id() is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with suppress(FileExistsError):
            path.mkdir(0o700)
        descriptor = _patiently(lambda: os.open(path, FOLDER_FLAGS))
    except OSError as error:
        raise _refused(path, error) from None
    try:
        found = os.fstat(descriptor)
        ours = found.st_uid == os.geteuid()
        if private and not ours:
            raise UserError(
                f"{path}: another user's folder, so no lock in it can be relied on; remove it, or "
                f"{ELSEWHERE}"
            )
        if ours and not private and stat.S_IMODE(found.st_mode) != 0o777:
            # Not sticky: there, the kernel may refuse to open what another user has made.
            os.fchmod(descriptor, 0o777)
        yield LockFolder(path, descriptor)
    finally:
        os.close(descriptor)


def _patiently(open_it: Callable[[], int]) -> int:
    """Open a file or folder that another user may just be making."""
    until = time.monotonic() + MODE_SECONDS
    while True:
        try:
            return open_it()
        except PermissionError:
            if time.monotonic() > until:
                raise
            time.sleep(POLL_SECONDS)


def _refused(path: Path, error: OSError) -> UserError:
    """Return the error of a folder or file of locks that cannot be opened."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR) and path.is_symlink():
        why = "a link, which is not followed, because another user may have put it there"
    else:
        why = os.strerror(error.errno or 0)
    return UserError(
        f"{path}: the locks of this machine's GPUs cannot be used: {why}; remove it, or {ELSEWHERE}"
    )


class LockFolder:
    """An open folder of locks, in which files are opened whatever lies under its path by then."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor

    @contextmanager
    def waited_for(self, name: str) -> Iterator[None]:
        """Hold a lock until the block ends, waiting until it is free."""
        with ExitStack() as held:
            while not self.try_lock(name, held):
                time.sleep(POLL_SECONDS)
            yield

    def try_lock(self, name: str, held: ExitStack) -> bool:
        """Lock a name until `held` is closed; return False if another process has locked it.

        Raises UserError where its file is a link or nothing that can be locked, and RemovedError.
        """
        file = self._open(name)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise _refused(self.path / _file_name(name), error) from None
        held.callback(os.close, file)
        if os.fstat(file).st_nlink == 0:
            raise RemovedError
        return True

    def _open(self, name: str) -> int:
        """Open the file of a lock, and make it for all users where it is missing."""
        file, folder = _file_name(name), self._descriptor
        try:
            made = os.open(file, FILE_FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        except FileNotFoundError:
            raise RemovedError from None
        except FileExistsError:
            try:
                return _patiently(lambda: os.open(file, FILE_FLAGS, dir_fd=folder))
            except FileNotFoundError:
                raise RemovedError from None
            except OSError as error:
                raise _refused(self.path / file, error) from None
        except OSError as error:
            raise _refused(self.path / file, error) from None
        os.fchmod(made, 0o666)  # past the umask
        return made

    def remove_if_free(self) -> None:
        """Remove the folder and its files, unless a process holds or takes one of the locks."""
        files = os.listdir(self._descriptor)  # noqa: PTH208, no path leads to it
        with ExitStack() as held, suppress(RemovedError):
            # With the allocator's lock first: who waits for it finds that its file is gone.
            for file in sorted(files, key=lambda file: file != _file_name(ALLOCATOR)):
                if not self.try_lock(file.removesuffix(SUFFIX), held):
                    return
            for file in files:
                os.unlink(file, dir_fd=self._descriptor)
            with suppress(OSError):
                self.path.rmdir()

    def holder(self, name: str) -> str:
        """Return the process that holds a lock, in words."""
        with suppress(OSError, IndexError, ValueError):
            file = os.stat(_file_name(name), dir_fd=self._descriptor, follow_symlinks=False)
            for line in KERNEL_LOCKS.read_text().splitlines():
                fields = line.split()  # number, kind, mode, access, process, device:inode, range
                if fields[1] == "FLOCK" and fields[5].endswith(f":{file.st_ino}"):
                    return f"process {fields[4]}"
        return "a process that is not seen from here"


def _file_name(name: str) -> str:
    """Return the file of a lock; names of slices can have a slash."""
    return name.replace("/", "_") + SUFFIX
