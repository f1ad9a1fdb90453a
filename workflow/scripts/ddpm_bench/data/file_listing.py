"""The files of a folder that belong to a dataset, and hashes of their names and contents.

Imports the standard library only, and tqdm when there is much to read: the Snakefile calls it.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from ddpm_bench import files
from ddpm_bench.errors import UserError

FILES_AT_ONCE = 1024


def folder_listing(path: str, include: list[str], key: str = "source.path") -> str:
    """Return a hash of the names, sizes and times of the files in a folder that match `include`.

    It reads no file, so it is cheap enough to compute whenever the workflow starts. `key` is the
    config's key that names the folder. Raises UserError for a missing folder or one without files.
    """
    digest = hashlib.sha256()
    for relative in matching_files(Path(path), include, key):
        try:
            file = Path(path, relative)
            status = file.stat()
            # What has no content of its own changes its time when anybody looks.
            state = files.obstacle(file) or f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # a link that leads nowhere: images.csv will list it
            state = "unreadable"
        digest.update(os.fsencode(relative) + b"\0" + state.encode() + b"\0")
    return digest.hexdigest()


def folder_sha256(path: str, include: list[str], cache: Path, key: str = "source.path") -> str:
    """Return a hash of the names and contents of the files in a folder that match `include`.

    Files are read only when names, sizes or times have changed since `cache`, a small JSON file,
    was written; so a folder that was only touched or copied makes nothing stale, and checking it is
    cheap. Raises UserError as `folder_listing` does.
    """
    state = folder_listing(path, include, key)
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = files.read_json(cache)
        if known["state"] == state:
            return str(known["contents"])
    contents = contents_sha256(Path(path), matching_files(Path(path), include, key))
    with suppress(OSError):  # without it the files are read again next time
        files.write_json(cache, {"state": state, "contents": contents})
    return contents


def contents_sha256(folder: Path, names: list[str]) -> str:
    """Return `listing_sha256` of files below a folder, with a progress bar."""
    from tqdm import tqdm

    shown = tqdm(_contents(folder, names), "checksums", len(names), unit=" files")
    return listing_sha256(zip(names, shown, strict=True))


def _contents(folder: Path, names: list[str]) -> Iterator[str]:
    """Yield the sha256 of each file, read by a few threads: hashing releases Python's lock."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for start in range(0, len(names), FILES_AT_ONCE):
            paths = [folder / name for name in names[start : start + FILES_AT_ONCE]]
            yield from pool.map(content_sha256, paths)


def content_sha256(path: Path) -> str:
    """Return the file's sha256, or "" if it cannot be read or is no regular file of a disk."""
    try:
        return "" if files.obstacle(path) else files.sha256(path)
    except OSError:
        return ""


def listing_sha256(entries: Iterable[tuple[str, str]]) -> str:
    """Return a hash over (relative path, content's sha256) in the given order, which is by path."""
    digest = hashlib.sha256()
    for name, sha256 in entries:
        digest.update(os.fsencode(name) + b"\0" + sha256.encode() + b"\0")
    return digest.hexdigest()


def matching_files(folder: Path, include: list[str], key: str = "source.path") -> list[str]:
    """Return the files below `folder` that match any pattern, as sorted relative paths.

    Raises UserError naming `folder` and `key` when it is missing, unreadable, or nothing matches.
    """
    named = f"{key} = {str(folder.absolute())!r}"
    if not folder.is_dir():
        raise UserError(f"{named}: is no folder; give an existing one")
    patterns = split_patterns(include, key)
    hidden = any(part.startswith(".") for pattern in patterns for part in pattern)
    try:
        found = list(walk(folder, hidden))
    except OSError as error:
        raise UserError(f"{named}: {error.filename}: {error.strerror}") from None
    kept = ["/".join(parts) for parts in found if matches(parts, patterns)]
    if not kept:
        shown = f"such as {printable('/'.join(min(found)))!r}" if found else "none"
        raise UserError(
            f"{named}: no file matches include = {include}; it has {len(found)} files, {shown}"
        )
    return sorted(kept, key=os.fsencode)


def split_patterns(include: list[str], key: str = "source.include") -> list[tuple[str, ...]]:
    """Split glob patterns into path components; raise UserError for one that leaves its folder."""
    patterns = []
    for pattern in include:
        parts = tuple(part for part in pattern.split("/") if part not in ("", "."))
        if pattern.startswith("/") or ".." in parts or not parts:
            raise UserError(f"{key}: pattern {pattern!r} must be relative and stay in the folder")
        patterns.append(parts + ("*",) * (parts[-1] == "**"))
    return patterns


def matches(path: tuple[str, ...], patterns: list[tuple[str, ...]]) -> bool:
    """Return whether a path, in components, matches any pattern, as in a shell with globstar.

    `**` matches any number of folders. A name that begins with a dot is matched only by a pattern
    that begins with one, so that .git, .DS_Store and ._*.jpg are no part of a dataset.
    """
    return any(_matches(path, pattern) for pattern in patterns)


def _matches(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Return whether a path matches one pattern, both in components."""
    if not path or not pattern:
        return not path and not pattern
    if pattern[0] == "**":
        below = not path[0].startswith(".") and _matches(path[1:], pattern)
        return below or _matches(path, pattern[1:])
    if path[0].startswith(".") and not pattern[0].startswith("."):
        return False
    return fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])


def walk(
    folder: Path,
    hidden: bool,
    parents: tuple[str, ...] = (),
    above: frozenset[tuple[int, int]] = frozenset(),
) -> Iterator[tuple[str, ...]]:
    """Yield every file below `folder` in path components; follow links, but not in loops.

    hidden: also names that begin with a dot, and what lies below them. Raises OSError for a folder
    that cannot be read.
    """
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and not hidden:
                continue
            if _is_folder(entry):
                below = Path(entry.path), hidden, (*parents, entry.name), above | {identity}
                yield from walk(*below)
            else:
                yield (*parents, entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True for a folder, or a link to one. A link that leads to itself is a file here."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return False
        raise


def printable(path: str) -> str:
    """Return a path as text of one line that UTF-8 can encode; other bytes become escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(f"\\x{ord(one):02x}" if ord(one) < 32 or one == "\x7f" else one for one in text)
