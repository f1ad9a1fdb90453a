"""Fetching of a dataset's files from its source, and the marker that identifies them."""

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

# Folder beside the datasets' folders; no dataset's name begins with a dot. Its files may be deleted
# at any time: they only save downloads. Files brought by hand are put here.
DOWNLOADS = ".downloads"


def fetch(source: Source, folder: Path, listing: str | None = None) -> dict[str, Any]:
    """Make `folder` of the source's raw files, and return the marker for them.

    A local folder is used where it is; `listing` is the hash of its files if it is known already.
    The folder appears complete or not at all. Raises UserError for a source that cannot be reached,
    differs from its pinned checksum or commit, or has no file that matches `include`.
    """
    if isinstance(source, Folder):
        return marker(source.kind, source.path, source.include, listing)
    _remove_leftovers(folder)
    with files.replacing_folder(folder) as temporary:
        _fill(source, temporary, folder.parent / DOWNLOADS)
    return marker(source.kind, str(folder), included(source))


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary folders of killed runs, as `files.replacing_folder` names them."""
    leftover = re.compile(rf"\.{re.escape(folder.name)}\.\d+\.partial")
    for path in folder.parent.glob(".*.partial"):
        if leftover.fullmatch(path.name):
            shutil.rmtree(path)


def _fill(source: Source, folder: Path, downloads: Path) -> None:
    """Download a source's files into an empty folder."""
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
    """Return the source's `include` patterns; the pattern of all files if it has no such key."""
    return getattr(source, "include", ["**/*"])


def marker(kind: str, folder: str, include: list[str], known: str | None = None) -> dict[str, Any]:
    """Return the marker of fetched files.

    Its keys: "kind", "folder" as given, "files" (their number) and "sha256" of names and contents.
    `known`: that sha256, if it is known already.
    """
    names = matching_files(Path(folder), include)
    digest = known or contents_sha256(Path(folder), names)
    return {"kind": kind, "folder": folder, "files": len(names), "sha256": digest}
