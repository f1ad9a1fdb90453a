"""Safe unpacking of zip and tar archives: no member may leave the folder, nor fill the disk.

Members are checked here, not by tarfile's filters, which Python 3.11.0 to 3.11.3 do not have.
"""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from tqdm import tqdm

from ddpm_bench import files
from ddpm_bench.data.file_listing import matches, printable, split_patterns
from ddpm_bench.errors import UserError
from ddpm_bench.text import size_text

CHUNK_BYTES = 1 << 20

_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(OSError, EOFError, ValueError),
    *(RuntimeError, NotImplementedError),  # of zipfile, for passwords and unknown compressions
)


@dataclass(frozen=True)
class Member:
    """A file in an archive, of `size` bytes as it declares; a folder has no content."""

    name: str
    size: int
    content: IO[bytes] | None


def extract(archive: Path, folder: Path, include: list[str]) -> int:
    """Unpack the members of a zip or tar archive that match `include`; return their number.

    Nothing is unpacked before all members are checked, for which a compressed tar is read twice.
    Raises UserError for a broken archive, for one with any member that is absolute, leaves the
    folder, or is a link, device or sparse file, for two members of one name, when the disk has no
    room for the sizes that the members declare or one holds another number of bytes, and when
    nothing matches. Files unpacked before the error are left to the caller, who works in a
    temporary folder.
    """
    patterns = split_patterns(include)
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    count, seen, example = 0, 0, "none"
    try:
        _check(archive, members(archive), patterns, folder)
        for member in tqdm(members(archive), desc="unpacking", unit=" files"):
            parts = components_inside(member.name, archive)
            if member.content is None:
                continue
            seen, example = seen + 1, member.name
            if matches(parts, patterns):
                with files.creating(folder, parts, archive) as file:
                    _write(member, file, archive)
                count += 1
    except _BROKEN as error:
        raise UserError(f"{archive}: cannot be unpacked ({error})") from None
    if count == 0:
        raise UserError(
            f"{archive}: no file matches source.include = {include}; it has {seen} files, "
            f"such as {printable(example)!r}"
        )
    return count


def _check(
    archive: Path,
    members: Iterator[Member],
    patterns: list[tuple[str, ...]],
    folder: Path,
) -> None:
    """Raise UserError if the names are unsafe or the declared sizes exceed the free disk."""
    needed, free = 0, files.room(folder / archive.name)
    for member in members:
        parts = components_inside(member.name, archive)
        if member.content is not None and matches(parts, patterns):
            needed += member.size
        if needed > free:  # at once: the rest may be long
            raise UserError(
                f"{archive}: takes {size_text(needed)} or more unpacked, and {size_text(free)} are "
                f"free in {folder.parent}; make room, or set resources_dir to a folder on a larger "
                "disk"
            )


def _write(member: Member, file: BinaryIO, archive: Path) -> None:
    """Write a member's bytes; raise UserError if they are not as many as it declares."""
    assert member.content is not None
    written = 0
    while chunk := member.content.read(CHUNK_BYTES):
        written += len(chunk)
        if written > member.size:
            break
        file.write(chunk)
    if written != member.size:
        raise UserError(
            f"{archive}: member {printable(member.name)!r} declares {member.size} bytes and holds "
            f"{'more' if written > member.size else written}; refused as a whole"
        )


def components_inside(name: str, origin: object) -> tuple[str, ...]:
    """Return a member's path in components; raise UserError if it is absolute or leaves its folder.

    Backslashes and drive letters are refused too: a name that is harmless here may not be
    elsewhere.
    """
    parts = PurePosixPath(name).parts
    windows = name.replace("\\", "/").split("/")
    absolute = name.startswith(("/", "\\")) or name[1:2] == ":"
    if absolute or ".." in windows or "\0" in name:
        raise UserError(
            f"{origin}: member {printable(name)!r} leaves its folder; refused as a whole"
        )
    return parts


def _zip_members(archive: Path) -> Iterator[Member]:
    """Yield each member of a zip archive."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _not_a_file(archive, member.filename)
            with opened.open(member) as content:
                is_folder = member.is_dir()
                yield Member(member.filename, member.file_size, None if is_folder else content)


def _tar_members(archive: Path) -> Iterator[Member]:
    """Yield each member of a tar archive."""
    with tarfile.open(archive) as opened:
        while (member := opened.next()) is not None:
            # A sparse file declares more bytes than the archive holds.
            if member.issparse() or not (member.isreg() or member.isdir()):
                raise _not_a_file(archive, member.name)
            yield Member(member.name, member.size, opened.extractfile(member))
            opened.members.clear()  # or it would hold every member of a long archive in memory


def _not_a_file(archive: Path, name: str) -> UserError:
    """Return the error for a member that is a link, device or sparse file."""
    return UserError(
        f"{archive}: member {printable(name)!r} is a link, device or sparse file; refused as a "
        "whole: pack plain files"
    )
