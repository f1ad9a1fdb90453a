"""Which files of a folder belong to a dataset. Standard library only: the Snakefile calls it."""

import hashlib
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from .program import UserError


def folder_listing(path: str, include: list[str], key: str = "source.path") -> str:
    """A hash of the names, sizes and times of the files in a folder that match `include`.

    It reads no file, so it is cheap enough to be taken whenever the workflow starts. `key` is the
    config's key that names the folder. Raises UserError for a missing folder or one without files.
    """
    digest = hashlib.sha256()
    for relative in matching_files(Path(path), include, key):
        try:
            status = Path(path, relative).stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:  # a link that leads nowhere: images.csv will say so
            state = "unreadable"
        digest.update(os.fsencode(relative) + b"\0" + state.encode() + b"\0")
    return digest.hexdigest()


def matching_files(folder: Path, include: list[str], key: str = "source.path") -> list[str]:
    """The files below `folder` that match any pattern of `include`, as sorted relative paths.

    Raises UserError naming `folder` and `key` when it is missing, unreadable, or nothing matches.
    """
    if not folder.is_dir():
        raise UserError(f"{key} = {str(folder)!r}: is no folder; give an existing one")
    patterns = split_patterns(include, key)
    hidden = any(part.startswith(".") for pattern in patterns for part in pattern)
    try:
        found = list(_walk(folder, (), frozenset(), hidden))
    except OSError as error:
        raise UserError(f"{key} = {str(folder)!r}: {error.filename}: {error.strerror}") from None
    kept = ["/".join(parts) for parts in found if matches(parts, patterns)]
    if not kept:
        shown = f"such as {printable('/'.join(min(found)))!r}" if found else "none"
        raise UserError(
            f"{key} = {str(folder)!r}: no file matches include = {include}; "
            f"it has {len(found)} files, {shown}"
        )
    return sorted(kept, key=os.fsencode)


def split_patterns(include: list[str], key: str = "source.include") -> list[tuple[str, ...]]:
    """Glob patterns in path components. Raises UserError for one that leaves its folder."""
    patterns = []
    for pattern in include:
        parts = tuple(part for part in pattern.split("/") if part not in ("", "."))
        if pattern.startswith("/") or ".." in parts or not parts:
            raise UserError(f"{key}: pattern {pattern!r} must be relative and stay in the folder")
        patterns.append(parts + ("*",) * (parts[-1] == "**"))
    return patterns


def matches(path: tuple[str, ...], patterns: list[tuple[str, ...]]) -> bool:
    """Whether a relative path, in components, matches any pattern, as in a shell with globstar.

    `**` stands for any number of folders, and a name that begins with a dot is matched only by a
    pattern that begins with one, so that .git, .DS_Store and ._*.jpg are no part of a dataset.
    """
    return any(_matches(path, pattern) for pattern in patterns)


def _matches(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not path or not pattern:
        return not path and not pattern
    if pattern[0] == "**":
        below = not path[0].startswith(".") and _matches(path[1:], pattern)
        return below or _matches(path, pattern[1:])
    if path[0].startswith(".") and not pattern[0].startswith("."):
        return False
    return fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])


def _walk(
    folder: Path, parents: tuple[str, ...], above: frozenset[tuple[int, int]], hidden: bool
) -> Iterator[tuple[str, ...]]:
    """Every file below `folder`, in path components; links to folders are followed, not loops."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and not hidden:
                continue
            if entry.is_dir():
                yield from _walk(
                    Path(entry.path), (*parents, entry.name), above | {identity}, hidden
                )
            else:
                yield (*parents, entry.name)


def printable(path: str) -> str:
    """A path as text that UTF-8 can hold; bytes that are no UTF-8 are shown as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
