"""The files of one commit of a git repository.

Nothing is checked out: blobs are read from the object store. So no filter, hook, attribute,
line-ending rule, submodule or symbolic link of the repository has any effect.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from tqdm import tqdm

from ddpm_bench import files
from ddpm_bench.data.archives import components_inside
from ddpm_bench.data.file_listing import matches, printable, split_patterns
from ddpm_bench.errors import UserError

PROTOCOLS = "https:http:ssh:git:file"
CHUNK_BYTES = 1 << 20
# In git's stderr when the repository cannot be reached, so that fetching more is of no use.
UNREACHABLE = (
    "unable to access",
    "could not resolve",
    "could not read from remote repository",
    "does not appear to be a git repository",
    "unable to connect",
    "authentication failed",
    "could not read username",
    "dubious ownership",
)


def write_commit(url: str, commit: str, include: list[str], folder: Path) -> int:
    """Write the files of `commit` that match `include` into `folder`; return their number.

    While it works, git's objects are in a temporary folder inside `folder`. Raises UserError when
    the repository cannot be reached, has no such commit, or no file matches.
    """
    patterns = split_patterns(include)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".git-") as store:
        _git(store, "init", "--quiet", "--bare", "--template=")
        _fetch(store, url, commit)
        blobs = list(_blobs(store, commit))
        kept = [(blob, parts) for blob, parts in blobs if matches(parts, patterns)]
        if not kept:
            example = f", such as {printable('/'.join(blobs[0][1]))!r}" if blobs else ""
            raise UserError(
                f"{url} at commit {commit}: no file matches source.include = {include}; "
                f"it has {len(blobs)} files{example}"
            )
        _write(store, kept, folder, f"{url} at commit {commit}")
    return len(kept)


def _fetch(store: str, url: str, commit: str) -> None:
    """Fetch one commit, or all branches and tags if the server does not serve single commits."""
    options = ("fetch", "--progress", "--no-tags", "--no-recurse-submodules")
    failed = _fetch_with_progress(store, *options, "--depth=1", "--", url, commit)
    if failed is not None and not any(words in failed.lower() for words in UNREACHABLE):
        print("the server does not serve single commits; fetching all branches", file=sys.stderr)
        everything = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        failed = _fetch_with_progress(store, *options, "--", url, *everything)
    if failed is not None:
        raise UserError(
            f"{url}: cannot be fetched ({_reason(failed)}); check source.url and the network"
        )
    kind = _git(store, "cat-file", "-t", commit, check=False)
    if kind.stdout.strip() != b"commit":
        raise UserError(
            f"{url}: has no commit {commit} (source.commit); give the full hash of one that it has"
        )


def _fetch_with_progress(store: str, *arguments: str) -> str | None:
    """Run git and forward its progress; return None on success, else the end of its stderr."""
    command = _command(store, *arguments)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment()
    ) as process:
        assert process.stderr is not None
        stderr = b""
        while chunk := os.read(process.stderr.fileno(), 4096):
            sys.stderr.write(chunk.decode(errors="replace"))
            sys.stderr.flush()
            stderr = (stderr + chunk)[-10_000:]
    return stderr.decode(errors="replace") if process.returncode else None


def _reason(stderr: str) -> str:
    """Return the most informative line of git's stderr."""
    lines = [line.strip() for line in stderr.replace("\r", "\n").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("fatal:", "error:"))]
    return errors[0] if errors else lines[-1] if lines else "git printed no reason"


def _blobs(store: str, commit: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Yield (object, path in components) of every file of the commit; submodules are skipped."""
    listing = _git(store, "ls-tree", "-r", "-z", "--full-tree", commit).stdout
    for entry in listing.split(b"\0")[:-1]:
        description, _, path = entry.partition(b"\t")
        _, kind, blob = description.decode().split()
        if kind == "blob":
            yield blob, components_inside(os.fsdecode(path), f"commit {commit}")


def _write(store: str, blobs: list[tuple[str, tuple[str, ...]]], folder: Path, origin: str) -> None:
    """Write blobs to their paths below `folder`. Raises UserError for two files of one name."""
    command = _command(store, "cat-file", "--batch")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for blob, parts in tqdm(blobs, desc="writing files", unit=" files"):
            process.stdin.write(blob.encode() + b"\n")
            process.stdin.flush()
            size = int(process.stdout.readline().split()[2])
            with files.creating(folder, parts, origin) as file:
                _copy(process.stdout, file, size)
            process.stdout.read(1)  # the newline after each object


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    """Copy `size` bytes from one open file to another."""
    while size > 0:
        chunk = source.read(min(size, CHUNK_BYTES))
        if not chunk:
            raise UserError("git ended in the middle of a file; try again")
        target.write(chunk)
        size -= len(chunk)


def _git(store: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run git to its end and return the completed process.

    Raises UserError if git is not installed, or, with `check`, if it fails.
    """
    try:
        done = subprocess.run(_command(store, *arguments), capture_output=True, env=_environment())
    except FileNotFoundError:
        raise UserError("git is not installed, and a source of kind git needs it") from None
    if check and done.returncode:
        raise UserError(
            f"git {arguments[0]} failed: {_reason(done.stderr.decode(errors='replace'))}"
        )
    return done


def _command(store: str, *arguments: str) -> list[str]:
    """Return a git command that uses `store` as repository and runs no hooks or maintenance."""
    settings = (
        "core.hooksPath=/dev/null",
        "core.symlinks=false",
        "gc.auto=0",
        "maintenance.auto=false",
    )
    flags = [flag for setting in settings for flag in ("-c", setting)]
    return ["git", f"--git-dir={store}", *flags, *arguments]


def _environment() -> dict[str, str]:
    """Return the user's environment without variables that redirect git or make it ask.

    What git needs of it, such as proxies and keys, stays.
    """
    redirecting = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE")
    redirecting += ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE")
    kept = {name: value for name, value in os.environ.items() if name not in redirecting}
    kept.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    return kept | {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": PROTOCOLS, "LC_ALL": "C"}
