"""Fetching: from where a dataset's files come, and the marker that says which they are."""

import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ddpm_bench import files
from ddpm_bench.config.dataset import Folder, Git, Source, Url
from ddpm_bench.data import archives, git_source, standard_datasets
from ddpm_bench.data.download import fetch_checked
from ddpm_bench.data.file_listing import contents_sha256, matching_files
from ddpm_bench.data.standard_datasets import write_digits

# Beside the datasets' folders; no dataset's name begins with a dot. Whatever lies in it may be
# deleted at any time: it only saves downloads, and takes files that were brought by hand.
DOWNLOADS = ".downloads"


def fetch(source: Source, folder: Path, listing: str | None = None) -> dict[str, Any]:
    """Make `folder` of the source's raw files, and return the marker for them.

    A local folder is used where it is; `listing` is the hash of its files where it is known. The
    folder appears complete or not at all. Raises UserError for what cannot be had, is not what was
    pinned, or has no file that matches `include`.
    """
    if isinstance(source, Folder):
        return marker(source.kind, source.path, source.include, listing)
    _remove_leftovers(folder)
    with files.replacing_folder(folder) as temporary:
        _fill(source, temporary, folder.parent / DOWNLOADS)
    return marker(source.kind, str(folder), included(source))


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed run left of this folder: `files.replacing_folder` names it so."""
    leftover = re.compile(rf"\.{re.escape(folder.name)}\.\d+\.partial")
    for path in folder.parent.glob(".*.partial"):
        if leftover.fullmatch(path.name):
            shutil.rmtree(path)


def _fill(source: Source, folder: Path, downloads: Path) -> None:
    if isinstance(source, Git):
        git_source.write_commit(source.url, source.commit, source.include, folder)
    elif isinstance(source, Url):
        name = PurePosixPath(urlsplit(source.url).path).name
        archive = downloads / f"{source.sha256[:12]}-{name}"
        fetch_checked([source.url], source.sha256, archive, name)
        archives.extract(archive, folder, source.include)
    elif source.kind == "sklearn-digits":
        write_digits(folder)
    else:
        standard_datasets.fetch_published(source.kind, folder, downloads)


def included(source: Source) -> list[str]:
    """The source's `include` patterns; all files where it has no such key."""
    return getattr(source, "include", ["**/*"])


def marker(kind: str, folder: str, include: list[str], known: str | None = None) -> dict[str, Any]:
    """What was fetched: {"kind", "folder" as given, "files", "sha256" of names and contents}."""
    names = matching_files(Path(folder), include)
    digest = known or contents_sha256(Path(folder), names)
    return {"kind": kind, "folder": folder, "files": len(names), "sha256": digest}
