"""Downloads of one pinned file, tried at several addresses and checked before use."""

import hashlib
import http.client
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.request import url2pathname

from tqdm import tqdm

from ddpm_bench import files
from ddpm_bench.errors import UserError
from ddpm_bench.text import size_text

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60  # without receiving a byte
# Of the free disk, for a download whose server does not name its length: what is in it is unpacked
# beside it, and takes as much again or more.
UNKNOWN_LENGTH_SHARE = 0.5


class _WrongFileError(Exception):
    """Downloaded bytes that differ from the pinned ones."""


def fetch_checked(urls: Sequence[str], sha256: str, path: Path, description: str) -> None:
    """Make `path` the file with this sha256, from the first of `urls` that provides it.

    A file already at `path` with this sha256 is used without network. Other bytes never appear at
    `path`. When all addresses fail, raises UserError with each failure and with directions for
    bringing the file by hand; and at once when the disk has no room for it.
    """
    if path.is_file() and files.sha256(path) == sha256:
        return
    folder_is_new = not path.parent.exists()
    failures = []
    try:
        for url in urls:
            try:
                with files.replacing(path) as temporary:
                    _download(url, sha256, temporary, description)
                return
            except (OSError, http.client.HTTPException, ValueError, _WrongFileError) as error:
                failures.append(f"{url}: {error}")
    finally:
        if folder_is_new:
            with suppress(OSError):  # it holds the file
                path.parent.rmdir()
    raise UserError(
        f"{description} could not be downloaded ({'; '.join(failures)}); on a machine without "
        f"network, download it elsewhere, check that its sha256 is {sha256}, and copy it to {path}"
    )


def _download(url: str, sha256: str, path: Path, description: str) -> None:
    """Download one address into `path`, with a progress bar, and check length and sha256."""
    request = urllib.request.Request(url, headers={"User-Agent": "ddpm-bench"})
    if request.type == "file" and (reason := files.obstacle(Path(url2pathname(request.selector)))):
        raise _WrongFileError(reason)
    digest = hashlib.sha256()
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        most = _most_bytes(total, path, url)
        with (
            path.open("wb") as file,
            tqdm(desc=description, total=total, unit="B", unit_scale=True) as progress,
        ):
            while chunk := response.read(CHUNK_BYTES):
                if progress.n + len(chunk) > most:
                    raise _WrongFileError(
                        f"it has sent {size_text(most)} without naming its length, which is "
                        f"{UNKNOWN_LENGTH_SHARE:.0%} of the free disk"
                    )
                file.write(chunk)
                digest.update(chunk)
                progress.update(len(chunk))
            received = progress.n
    if total is not None and received != total:
        raise _WrongFileError(f"the connection ended after {received} of {total} bytes")
    if digest.hexdigest() != sha256:
        raise _WrongFileError(f"its sha256 is {digest.hexdigest()}, expected {sha256}")


def _most_bytes(total: int | None, path: Path, url: str) -> int:
    """Return the bytes that may be written; raise UserError if the disk has no room for `total`.

    total: the length that the server names; None if it names none.
    """
    free = files.room(path)
    if total is None:
        return int(UNKNOWN_LENGTH_SHARE * free)
    if total > free:
        raise UserError(
            f"{url}: has {size_text(total)} and {size_text(free)} are free in {path.parent}; make "
            "room, or set resources_dir to a folder on a larger disk"
        )
    return total
