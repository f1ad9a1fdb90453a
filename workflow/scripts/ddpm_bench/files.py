"""Files that matter: written under a temporary name, flushed to disk, then renamed."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from ddpm_bench.errors import UserError

NO_ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
NEARLY_NOTHING = 2**20  # bytes; below it a failed write without a reason is put down to the disk


def allowed() -> None:
    """The `check` of who needs none."""


@contextmanager
def replacing(
    path: Path, check: Callable[[], None] = allowed, size: int | None = None
) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block ends well.

    The temporary keeps the suffix of `path`, so that writers that choose a format by it work.
    `check` is called last before the rename, and prevents it by raising. `size`: how many bytes
    will be written, where that is known. Raises UserError when the disk is full; `path` is then as
    it was.
    """
    temporary = path.with_name(f".{path.stem}.{_unique()}.partial{path.suffix}")
    try:
        with _explaining_a_full_disk(path, temporary, size):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _open_as_usual(temporary)
            fsync(temporary)
            check()
            temporary.replace(path)
            fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_half_written(path: Path) -> None:
    """Remove what processes left that were killed while `replacing` a file; for its owner alone."""
    for leftover in path.parent.glob(f".{path.stem}.*.partial{path.suffix}"):
        leftover.unlink(missing_ok=True)


@contextmanager
def replacing_folder(
    path: Path, check: Callable[[], None] = allowed, size: int | None = None
) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` when the block ends well.

    Every file in it is flushed to disk first. An existing folder `path` is replaced. `check`,
    `size` and errors: as of `replacing`.
    """
    temporary = path.with_name(f".{path.name}.{_unique()}.partial")
    try:
        with _explaining_a_full_disk(path, temporary, size):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    _open_as_usual(file)
            fsync_below(temporary)
            check()
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
            fsync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def allocate(path: Path) -> None:
    """Take the room of a file's whole length now: a mapped file that finds none later is killed."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _unique() -> int:
    """A number for a temporary name: no other process has it, on whatever machine it runs."""
    return secrets.randbits(63)


@contextmanager
def _explaining_a_full_disk(path: Path, temporary: Path, size: int | None) -> Iterator[None]:
    """Turn a writer's error on a full disk into UserError, its other system errors into OSError.

    safetensors raises an exception of its own that holds the system's error number in its text.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = _system_error(error)
        if number is None and isinstance(error, OSError) and room(path) < NEARLY_NOTHING:
            number = errno.ENOSPC  # numpy and Pillow do not say which error it was
        if number in NO_ROOM:
            needed = "" if size is None else f" of the {size_text(size)} that it takes"
            free = size_text(room(path) + _size(temporary))
            raise UserError(
                f"{path}: cannot be written, {NO_ROOM[number]}: {free}{needed} were free in "
                f"{_existing(path)}. Nothing half-written stays and all that was there before is "
                "intact; make room, then run snakemake again"
            ) from None
        if number is None or isinstance(error, OSError):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _system_error(error: Exception) -> int | None:
    """The errno of an exception of Python, or of Rust ("... (os error 28)"); None without one."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _existing(path: Path) -> Path:
    """The nearest folder above a path that is there."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())


def room(path: Path) -> int:
    """Bytes that are free for this user where a path lies, or will lie."""
    return shutil.disk_usage(_existing(path)).free


def _size(path: Path) -> int:
    """Bytes on disk of a file, or of all files below a folder; 0 where there is none."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def size_text(size: int) -> str:
    """Bytes for people: 512 bytes, 3.2 MB, 80 GB."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:.1f} {unit}"


def _open_as_usual(path: Path) -> None:
    """Give a file the permissions that the umask asks for; some writers make files for one user."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def fsync(path: Path) -> None:
    """Flush a file's or folder's data from the kernel to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_below(folder: Path) -> None:
    """Flush a folder and all below it, many files at once: the disk then writes them together."""
    below = folder.rglob("*")
    with ThreadPoolExecutor(16) as threads:
        while batch := list(islice(below, 1024)):
            list(threads.map(fsync, batch))
    fsync(folder)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically; NaN is refused."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file written by `write_json`."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    """The file's sha256 as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """The sha256 of UTF-8 text as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
