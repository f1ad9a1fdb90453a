"""Safe unpacking of zip and tar archives: no member may leave the folder.

Members are checked here, not by tarfile's filters, which Python 3.11.0 to 3.11.3 do not have.
"""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from ddpm_bench import files
from ddpm_bench.data.file_listing import matches, printable, split_patterns
from ddpm_bench.errors import UserError

_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(OSError, EOFError, ValueError),
    *(RuntimeError, NotImplementedError),  # of zipfile, for passwords and unknown compressions
)


def extract(archive: Path, folder: Path, include: list[str]) -> int:
    """Unpack the members of a zip or tar archive that match `include`; return their number.

    Raises UserError for a broken archive, for one with any member that is absolute, leaves the
    folder, or is a link or device, for two members of one name, and when nothing matches. Files
    unpacked before the error are left to the caller, who works in a temporary folder.
    """
    patterns = split_patterns(include)
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    count, seen, example = 0, 0, "none"
    try:
        for name, content in tqdm(members(archive), desc="unpacking", unit=" files"):
            parts = components_inside(name, archive)
            if content is None:
                continue
            seen, example = seen + 1, name
            if matches(parts, patterns):
                with files.creating(folder, parts, archive) as file:
                    shutil.copyfileobj(content, file)
                count += 1
    except _BROKEN as error:
        raise UserError(f"{archive}: cannot be unpacked ({error})") from None
    if count == 0:
        raise UserError(
            f"{archive}: no file matches source.include = {include}; it has {seen} files, "
            f"such as {printable(example)!r}"
        )
    return count


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


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield (name, content) of each member of a zip archive; the content of a folder is None."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _not_a_file(archive, member.filename)
            with opened.open(member) as content:
                yield member.filename, None if member.is_dir() else content


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield (name, content) of each member of a tar archive; the content of a folder is None."""
    with tarfile.open(archive) as opened:
        while (member := opened.next()) is not None:
            if not (member.isreg() or member.isdir()):
                raise _not_a_file(archive, member.name)
            yield member.name, opened.extractfile(member)
            opened.members.clear()  # or it would hold every member of a long archive in memory


def _not_a_file(archive: Path, name: str) -> UserError:
    """Return the error for a member that is a link or device."""
    return UserError(
        f"{archive}: member {printable(name)!r} is a link or device; refused as a whole"
    )
