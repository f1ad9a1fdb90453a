"""Atomic files: written under a temporary name, flushed to disk, then renamed. And their paths."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from ddpm_bench.errors import UserError
from ddpm_bench.text import size_text

NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
NAME_TAKEN = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
NAME_IMPOSSIBLE = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
# A variable of the environment in a path, as a shell writes it.
VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)
NO_ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
RECORD_CHECKSUM = "record_sha256"  # key of a record: the checksum of all others
# Bytes of free room below which a failed write without an error number means a full disk.
NEARLY_NOTHING = 2**20


def allowed() -> None:
    """Allow every rename: the default `check` of `replacing`."""


@contextmanager
def replacing(
    path: Path, check: Callable[[], None] = allowed, size: int | None = None
) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block ends well.

    The temporary keeps the suffix of `path`, so that writers that choose a format by it work.
    `check` is called last before the rename, and prevents it by raising. size: bytes that will be
    written, if known. Raises UserError when the disk is full; `path` is then unchanged.
    """
    temporary = path.with_name(f".{path.stem}.{_unique()}.partial{path.suffix}")
    try:
        with _explaining_a_full_disk(path, temporary, size):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.chmod(_usual_mode())
            fsync(temporary)
            check()
            temporary.replace(path)
            fsync(path.parent)
    finally:
        with suppress(OSError):  # on a read-only disk there is none
            temporary.unlink()


def remove_half_written(path: Path) -> None:
    """Remove temporary files of processes that were killed while `replacing` a file.

    Only the process that owns `path` may call it: it would remove those of running writers too.
    """
    for leftover in path.parent.glob(f".{path.stem}.*.partial{path.suffix}"):
        leftover.unlink(missing_ok=True)


@contextmanager
def replacing_folder(
    path: Path, check: Callable[[], None] = allowed, size: int | None = None
) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` when the block ends well.

    Every file in it is flushed to disk first. An existing folder `path` is replaced. For `check`,
    `size` and errors see `replacing`.
    """
    temporary = path.with_name(f".{path.name}.{_unique()}.partial")
    try:
        with _explaining_a_full_disk(path, temporary, size):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    file.chmod(_usual_mode())
            fsync_below(temporary)
            check()
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
            fsync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def allocate(path: Path) -> None:
    """Reserve disk space for a file's whole length: a process dies if a mapped file finds none."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _unique() -> int:
    """Return a random number for a temporary name, unique among the processes of all machines."""
    return secrets.randbits(63)


@contextmanager
def _explaining_a_full_disk(path: Path, temporary: Path, size: int | None) -> Iterator[None]:
    """Turn a writer's error on a full disk into UserError, its other system errors into OSError.

    safetensors raises its own exception, with the system's error number in its text.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = _system_error(error)
        if number is None and isinstance(error, OSError) and room(path) < NEARLY_NOTHING:
            number = errno.ENOSPC  # numpy and Pillow raise without an error number
        if number in NO_ROOM:
            needed = "" if size is None else f" of the {size_text(size)} that it takes"
            free = size_text(room(path) + _size(temporary))
            raise UserError(
                f"{path}: cannot be written, {NO_ROOM[number]}: {free}{needed} were free in "
                f"{existing_folder(path)}. Nothing half-written stays and all that was there "
                "before is intact; make room, then run snakemake again"
            ) from None
        if number in NOT_ALLOWED and _is_about(error, path.parent):
            raise UserError(
                f"{path}: cannot be written ({os.strerror(number)}); make {path.parent} writable, "
                "or set results_dir (for downloads resources_dir) to another folder"
            ) from None
        if number is None or isinstance(error, OSError):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _is_about(error: Exception, folder: Path) -> bool:
    """Return True if a system error is about a folder, one above it, or a file in it."""
    name = getattr(error, "filename", None)
    if not isinstance(name, str | Path):
        return False
    return Path(name) in (folder, *folder.parents) or folder in Path(name).parents


def _system_error(error: Exception) -> int | None:
    """Return the errno of an exception of Python or Rust ("... (os error 28)"), or None."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def existing_folder(path: Path) -> Path:
    """Return the nearest existing folder above a path."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def room(path: Path) -> int:
    """Return the free bytes for this user on the file system of an existing or future path."""
    return shutil.disk_usage(existing_folder(path)).free


def _size(path: Path) -> int:
    """Return the bytes on disk of a file, or of all files below a folder; 0 without any."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


@cache
def _usual_mode() -> int:
    """Return the permissions that the umask gives to a new file.

    Some writers make files readable by one user only. A file is made to learn the umask: os.umask
    returns it only by setting another, with which other threads would make their files meanwhile.
    """
    with tempfile.TemporaryDirectory() as folder:
        descriptor = os.open(Path(folder, "new"), os.O_CREAT | os.O_WRONLY, 0o666)
        try:
            return stat.S_IMODE(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)


def fsync(path: Path) -> None:
    """Flush a file's or folder's data from the kernel to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_below(folder: Path) -> None:
    """Flush a folder and all below it, many files at once, which the disk writes together."""
    below = folder.rglob("*")
    with ThreadPoolExecutor(16) as threads:
        while batch := list(islice(below, 1024)):
            list(threads.map(fsync, batch))
    fsync(folder)


def obstacle(path: Path) -> str | None:
    """Return a reason why a file cannot be read to an end; None for a regular file of a disk.

    A pipe never ends, nor does a device, and files of the kernel have other bytes each time.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return "no regular file"
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    # They take no room. Few other files do not, so that paths are seldom resolved.
    if status.st_blocks == 0 and os.path.realpath(path).startswith(("/proc/", "/sys/")):
        return "a file of the kernel"
    return None


@contextmanager
def creating(folder: Path, parts: tuple[str, ...], origin: object) -> Iterator[BinaryIO]:
    """Yield the new file at a path in components below a folder, open for writing.

    origin: the archive or commit that it comes from, for messages. Raises UserError where there is
    a file or folder of this name already, or the disk cannot hold such a name.
    """
    target = folder.joinpath(*parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    except OSError as error:
        if error.errno not in NAME_TAKEN | NAME_IMPOSSIBLE:
            raise
        taken = error.errno in NAME_TAKEN
        reason = "two files, or a file and a folder, of this name" if taken else error.strerror
        raise UserError(
            f"{origin}: {'/'.join(parts)!a} cannot be written ({reason}); get the files by hand, "
            "rename one or leave it out, and give them as a source of kind: folder"
        ) from None
    with file:
        yield file


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically. Raises ValueError for NaN."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_record(path: Path, value: Mapping[str, Any]) -> None:
    """Write a record as `write_json` does, with a checksum by which `read_json` sees damage."""
    write_json(path, with_checksum(value))


def with_checksum(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with a further key: the checksum of all others, RECORD_CHECKSUM."""
    return {**value, RECORD_CHECKSUM: _checksum(value)}


def _checksum(value: Mapping[str, Any]) -> str:
    """Return the sha256 of a record's content, however its text is laid out."""
    content = json.loads(json.dumps(value))  # tuples are lists then, and all keys text
    return sha256_text(json.dumps(content, sort_keys=True))


def read_json(path: Path) -> Any:
    """Read a JSON file, without the checksum of `write_record`, which is checked if it has one.

    Raises OSError or ValueError.
    """
    value = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(value, dict) and RECORD_CHECKSUM in value:
        expected = value.pop(RECORD_CHECKSUM)
        if _checksum(value) != expected:
            raise ValueError(f"its {RECORD_CHECKSUM} is not that of its other keys")
    return value


def read_if_there(path: Path) -> Any:
    """Read a JSON file; return None if it is missing or incomplete: it may be written just now."""
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def sha256(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Return the sha256 of UTF-8 text as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def expanded_path(path: str) -> str:
    """Return a path with `~`, `~user`, `$NAME` and `${NAME}` replaced, and all else as it is.

    Raises ValueError for an unknown user, and for a variable that is not set.
    """
    unset = [name for pair in VARIABLE.findall(path) if (name := "".join(pair)) not in os.environ]
    if unset:
        raise ValueError(
            f"the environment variable {unset[0]} is not set; set it, or write the path out"
        )
    path = VARIABLE.sub(lambda match: os.environ[match[1] or match[2]], path)
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise ValueError(f"there is no user {path.split('/')[0][1:]!r}; write it out") from None
