"""Fetching from folders and repositories."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import SCRIPTS

from ddpm_bench.config.dataset import FetchStage
from ddpm_bench.data.fetching import fetch
from ddpm_bench.data.file_listing import folder_listing, matches, matching_files, split_patterns
from ddpm_bench.errors import UserError


def source(**keys):
    return FetchStage.model_validate_json(json.dumps({"version": 1, "source": keys})).source


def write(folder, *names, content="x"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Which files belong to a dataset


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a.jpg", "**/*", True),
        ("a/b/c.jpg", "**/*", True),
        ("a/b/c.jpg", "**/*.png", False),
        ("a/b/c.jpg", "*/*.jpg", False),
        ("a/images/c.jpg", "*/images/*.jpg", True),
        ("a/b/c.jpg", "a/**", True),
        ("a/b/c.jpg", "**/b/*", True),
        ("c.jpg", "./*.jpg", True),
        ("c.JPG", "*.jpg", False),
        (".git/config", "**/*", False),
        ("a/.DS_Store", "**/*", False),
        ("a/._c.jpg", "**/*.jpg", False),
        (".hidden/c.jpg", ".hidden/*", True),
    ],
)
def test_patterns_match_as_in_a_shell(path, pattern, expected):
    assert matches(tuple(path.split("/")), split_patterns([pattern])) is expected


@pytest.mark.parametrize("pattern", ["../*", "/etc/*", "a/../../b", ""])
def test_patterns_that_leave_the_folder_are_refused(tmp_path, pattern):
    with pytest.raises(UserError, match="stay in the folder"):
        matching_files(write(tmp_path, "a"), [pattern])


def test_linked_folders_are_followed_once(tmp_path):
    data = write(tmp_path / "data", "a/1.png")
    write(tmp_path / "elsewhere", "2.png")
    (data / "b").symlink_to(tmp_path / "elsewhere")
    (data / "a" / "loop").symlink_to(data)
    assert matching_files(data, ["**/*"]) == ["a/1.png", "b/2.png"]


def test_a_listing_changes_with_names_sizes_times_and_patterns(tmp_path):
    folder = write(tmp_path / "data", "a.png", "b.txt")
    first = folder_listing(str(folder), ["**/*"])
    assert folder_listing(str(folder), ["**/*"]) == first
    seen = {first, folder_listing(str(folder), ["*.png"])}
    os.utime(folder / "a.png", ns=(1, 1))
    seen.add(folder_listing(str(folder), ["**/*"]))
    (folder / "a.png").write_text("longer")
    os.utime(folder / "a.png", ns=(1, 1))
    seen.add(folder_listing(str(folder), ["**/*"]))
    (folder / "a.png").rename(folder / "c.png")
    seen.add(folder_listing(str(folder), ["**/*"]))
    assert len(seen) == 5


def test_a_listing_heeds_only_files_that_match(tmp_path):
    folder = write(tmp_path / "data", "a.png")
    before = folder_listing(str(folder), ["*.png"])
    write(folder, "notes.txt", ".DS_Store")
    assert folder_listing(str(folder), ["*.png"]) == before


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_missing_or_empty_folder_is_named_with_its_key(tmp_path, make):
    folder = tmp_path / "data"
    make(folder)
    with pytest.raises(UserError, match=r"datasets\.mine\.source\.path = '.*data'"):
        folder_listing(str(folder), ["**/*"], key="datasets.mine.source.path")


def test_a_folder_without_matches_shows_what_it_has(tmp_path):
    write(tmp_path, "cats/1.JPG")
    with pytest.raises(UserError, match=r"has 1 files, such as 'cats/1.JPG'"):
        folder_listing(str(tmp_path), ["**/*.jpg"])


def test_listing_imports_neither_numpy_nor_torch():
    code = (
        "import sys, ddpm_bench.data.file_listing; "
        "print({'numpy', 'torch', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


# Folders


def test_a_local_folder_is_used_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "photos", "a/1.png", "b/2.png", "notes.txt")
    found = fetch(source(kind="folder", path="photos", include=["*/*.png"]), Path("out/mine"))
    assert (found["kind"], found["folder"], found["files"]) == ("folder", "photos", 2)
    assert below(tmp_path / "photos") == ["a", "a/1.png", "b", "b/2.png", "notes.txt"]
    assert not Path("out").exists()


def test_a_marker_tells_contents_and_names_apart(tmp_path):
    folder = write(tmp_path / "data", "a", "b")
    keys = source(kind="folder", path=str(folder))
    seen = {fetch(keys, tmp_path)["sha256"]}
    (folder / "a").write_text("y")
    seen.add(fetch(keys, tmp_path)["sha256"])
    (folder / "a").rename(folder / "c")
    seen.add(fetch(keys, tmp_path)["sha256"])
    assert len(seen) == 3


def test_the_program_writes_the_same_marker_twice(tmp_path):
    folder = write(tmp_path / "data", "a.png", "b.png")
    what = json.dumps({"version": 1, "source": {"kind": "folder", "path": str(folder)}})
    program = [sys.executable, SCRIPTS / "fetch.py", "--what", what, "--folder", tmp_path / "raw"]
    markers = []
    for name in ("first.json", "second.json"):
        subprocess.run([*program, "--output", tmp_path / name], check=True, capture_output=True)
        markers.append((tmp_path / name).read_bytes())
        os.utime(folder / "a.png", ns=(1, 1))
    assert markers[0] == markers[1]
    assert set(json.loads(markers[0])) == {"kind", "folder", "files", "sha256", "record_sha256"}


def test_the_program_says_what_is_wrong_in_one_line(tmp_path):
    what = json.dumps({"version": 1, "source": {"kind": "folder", "path": "/nowhere"}})
    done = subprocess.run(
        [
            sys.executable,
            SCRIPTS / "fetch.py",
            "--what",
            what,
            "--folder",
            "raw",
            "--output",
            "m.json",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr == "error: source.path = '/nowhere': is no folder; give an existing one\n"
    assert below(tmp_path) == []


def test_digits_are_written_as_bytes(tmp_path):
    import numpy as np

    found = fetch(source(kind="sklearn-digits"), tmp_path / "digits")
    images = np.load(tmp_path / "digits" / "images.npy", allow_pickle=False)
    labels = np.load(tmp_path / "digits" / "labels.npy", allow_pickle=False)
    assert (images.shape, images.dtype, images.max()) == ((1797, 8, 8, 1), np.uint8, 255)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert found["files"] == 2


def test_what_a_killed_run_left_is_removed(tmp_path):
    write(tmp_path, ".digits.77.partial/images.npy", ".digits.too.78.partial/images.npy")
    fetch(source(kind="sklearn-digits"), tmp_path / "digits")
    assert {path.name for path in tmp_path.iterdir()} == {"digits", ".digits.too.78.partial"}


# Git


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null"},
    )
    return done.stdout.strip()


def commit_all(folder):
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "images")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    """Make a repository with two commits; return it with the hash of the older one, `first`."""
    folder = tmp_path / "repository"
    write(folder, "a/images/1.png", "b/images/2.png", "notes.txt", ".gitattributes")
    git(folder, "init", "-q")
    first = commit_all(folder)
    write(folder, "a/images/1.png", content="changed")
    commit_all(folder)
    return folder, first


def test_a_repository_gives_the_files_of_its_commit_that_match(tmp_path, repository):
    folder, first = repository
    keys = source(kind="git", url=folder.as_uri(), commit=first, include=["*/images/*.png"])
    found = fetch(keys, tmp_path / "out" / "raw")
    assert below(tmp_path / "out") == [
        *("raw", "raw/a", "raw/a/images", "raw/a/images/1.png"),
        *("raw/b", "raw/b/images", "raw/b/images/2.png"),
    ]
    assert (tmp_path / "out" / "raw" / "a" / "images" / "1.png").read_text() == "x"
    assert found["files"] == 2


def test_a_commit_comes_from_a_server_that_gives_no_single_commits(
    tmp_path, repository, monkeypatch, capsys
):
    folder, first = repository
    for name, value in {"COUNT": "1", "KEY_0": "protocol.version", "VALUE_0": "0"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    found = fetch(source(kind="git", url=folder.as_uri(), commit=first), tmp_path / "raw")
    assert "fetching all branches" in capsys.readouterr().err
    assert found["files"] == 3


def test_a_wrong_commit_leaves_nothing_behind(tmp_path, repository):
    folder, _ = repository
    keys = source(kind="git", url=folder.as_uri(), commit="0" * 40)
    with pytest.raises(UserError, match=f"has no commit {'0' * 40}"):
        fetch(keys, tmp_path / "out" / "raw")
    assert below(tmp_path / "out") == []


def test_a_tree_is_no_commit(tmp_path, repository):
    folder, first = repository
    tree = git(folder, "rev-parse", f"{first}^{{tree}}")
    with pytest.raises(UserError, match="has no commit"):
        fetch(source(kind="git", url=folder.as_uri(), commit=tree), tmp_path / "raw")


def test_a_repository_without_matches_leaves_nothing_behind(tmp_path, repository):
    folder, first = repository
    keys = source(kind="git", url=folder.as_uri(), commit=first, include=["*.jpg"])
    with pytest.raises(UserError, match=r"no file matches.*it has 4 files"):
        fetch(keys, tmp_path / "out" / "raw")
    assert below(tmp_path / "out") == []


def test_a_missing_repository_is_one_clear_error(tmp_path):
    keys = source(kind="git", url=(tmp_path / "gone").as_uri(), commit="0" * 40)
    with pytest.raises(UserError, match=r"gone: cannot be fetched \(fatal: .*gone") as raised:
        fetch(keys, tmp_path / "out" / "raw")
    assert "\n" not in str(raised.value)
    assert below(tmp_path / "out") == []


def test_links_of_a_repository_come_as_plain_files_and_no_filter_runs(tmp_path, monkeypatch):
    folder = write(tmp_path / "repository", "a.png")
    (folder / "link.png").symlink_to("/etc/passwd")
    (folder / ".gitattributes").write_text("*.png filter=evil eol=crlf\n")
    git(folder, "init", "-q")
    first = commit_all(folder)
    settings = {"KEY_0": "filter.evil.smudge", "VALUE_0": f"touch {tmp_path}/ran", "COUNT": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    fetch(source(kind="git", url=folder.as_uri(), commit=first), tmp_path / "raw")
    assert not (tmp_path / "raw" / "link.png").is_symlink()
    assert (tmp_path / "raw" / "link.png").read_text() == "/etc/passwd"
    assert not (tmp_path / "ran").exists()


def test_a_commit_cannot_write_outside_its_folder(tmp_path):
    folder = write(tmp_path / "repository", "a.png")
    git(folder, "init", "-q")
    first = commit_all(folder)
    blob = bytes.fromhex(git(folder, "rev-parse", f"{first}:a.png"))
    inner = tmp_path / "tree"
    inner.write_bytes(b"100644 escaped.png\0" + blob)
    tree = git(folder, "hash-object", "--literally", "-t", "tree", "-w", str(inner))
    inner.write_bytes(b"40000 ..\0" + bytes.fromhex(tree))
    tree = git(folder, "hash-object", "--literally", "-t", "tree", "-w", str(inner))
    evil = git(folder, "commit-tree", tree, "-m", "evil")
    git(folder, "branch", "evil", evil)
    with pytest.raises(UserError, match=r"'\.\./escaped\.png' leaves its folder"):
        fetch(source(kind="git", url=folder.as_uri(), commit=evil), tmp_path / "out" / "raw")
    assert not list(tmp_path.rglob("escaped.png"))
