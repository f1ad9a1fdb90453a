"""Files that matter: written under a temporary name, flushed to disk, then renamed."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block ends well.

    The temporary keeps the suffix of `path`, so that writers that choose a format by it work.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        _open_as_usual(temporary)
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` when the block ends well.

    Every file in it is flushed to disk first. An existing folder `path` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file() and not file.is_symlink():
                _open_as_usual(file)
        fsync_below(temporary)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
        fsync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
