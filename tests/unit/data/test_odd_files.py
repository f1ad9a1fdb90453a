"""Odd files and names: a row of images.csv or one sentence for each, and never a hang."""

import io
import os
import socket
import subprocess
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
from prepared_images import encoded, folder_of, photo, prepare_folder, table

from ddpm_bench.config.dataset import Git
from ddpm_bench.data.archives import extract
from ddpm_bench.data.download import fetch_checked
from ddpm_bench.data.fetching import fetch
from ddpm_bench.data.file_listing import folder_listing, printable
from ddpm_bench.errors import UserError
from ddpm_bench.files import obstacle
from ddpm_bench.images.folders import read_image

KERNEL = Path("/proc/uptime")  # other bytes each time
needs_proc = pytest.mark.skipif(not KERNEL.exists(), reason="has no /proc")


@needs_proc
def test_what_is_no_file_of_a_disk_has_a_row(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "data", fine=photo(1))
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "kernel.png").symlink_to(KERNEL)
    (folder / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.png")
        prepare_folder(folder, tmp_path)
    assert {row["source"]: row["left_out"] for row in table(tmp_path)} == {
        "fine.png": "",
        "kernel.png": "cannot be read: a file of the kernel",
        **dict.fromkeys(
            ("endless.png", "loop.png", "pipe.png", "socket.png"), "cannot be read: no regular file"
        ),
    }


@needs_proc
def test_a_link_to_the_kernel_makes_no_folder_another_one(tmp_path):
    (tmp_path / "kernel.png").symlink_to(KERNEL)
    assert len({folder_listing(str(tmp_path), ["*"]) for _ in range(3)}) == 1


@pytest.mark.parametrize("character", ["\r", "\n", "\t", "\x1b"])
def test_a_name_with_a_control_character_has_one_row(tmp_path, character):
    folder = tmp_path / "data" / f"a{character}b"
    folder.mkdir(parents=True)
    other = folder.with_name("c")
    other.mkdir()
    for place in (folder, other):
        (place / f"1{character}2.png").write_bytes(encoded(photo(1)))
    prepare_folder(tmp_path / "data", tmp_path)
    escaped = f"\\x{ord(character):02x}"
    assert [(row["source"], row["label"]) for row in table(tmp_path)] == [
        (f"a{escaped}b/1{escaped}2.png", f"a{escaped}b"),
        (f"c/1{escaped}2.png", "c"),
    ]


def test_other_names_stay_as_they_are():
    assert printable("é 1\\2,日.png") == "é 1\\2,日.png"


def test_empty_files_are_files_of_a_disk(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_text("full")
    assert obstacle(tmp_path / "empty") is None
    assert obstacle(tmp_path / "full") is None
    assert obstacle(tmp_path / "missing") == obstacle(tmp_path) == "no regular file"


def git(folder, *arguments, given=None):
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", *who, "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, input=given)
    return done.stdout.strip()


def test_a_commit_with_a_file_and_a_folder_of_one_name_is_refused_in_one_sentence(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    blob = git(folder, "hash-object", "-w", "--stdin", given="x")
    inner = git(folder, "mktree", given=f"100644 blob {blob}\tb.png\n")
    both = git(folder, "mktree", given=f"100644 blob {blob}\ta\n040000 tree {inner}\ta\n")
    commit = git(folder, "commit-tree", both, "-m", "odd")
    git(folder, "branch", "odd", commit)
    source = Git(kind="git", url=folder.as_uri(), commit=commit)
    with pytest.raises(UserError, match=rf"{commit}: 'a.*' cannot be written \(two files, or a"):
        fetch(source, tmp_path / "out" / "raw")
    assert not (tmp_path / "out" / "raw").exists()


def pack(path: Path, *members: str) -> Path:
    """Write an archive with members of these names, in this order."""
    if path.suffix == ".zip":
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as packed:
            warnings.simplefilter("ignore")  # of duplicate names
            for name in members:
                packed.writestr(name, name)
        return path
    with tarfile.open(path, "w") as packed:
        for name in members:
            packed.addfile(tarfile.TarInfo(name), io.BytesIO())
    return path


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize(
    "members",
    [
        ("a.png", "b.png", "a.png"),
        ("a.png", "./a.png"),
        ("a", "a/b.png"),
        ("a/b.png", "a"),
        ("a" * 300, "b.png"),
    ],
    ids=["twice", "two spellings", "file, then folder", "folder, then file", "long"],
)
def test_members_that_cannot_lie_side_by_side_are_refused_in_one_sentence(
    tmp_path, suffix, members
):
    archive = pack(tmp_path / f"set.{suffix}", *members)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"set\.\w+: 'a.*' cannot be written \(.*by hand") as raised:
        extract(archive, tmp_path / "out", ["**/*"])
    assert "\n" not in str(raised.value)


def test_members_that_are_not_included_may_have_one_name(tmp_path):
    archive = pack(tmp_path / "set.zip", "README", "a.png", "README")
    (tmp_path / "out").mkdir()
    assert extract(archive, tmp_path / "out", ["*.png"]) == 1


def test_a_pipe_in_place_of_an_archive_or_an_image_is_one_sentence(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="no regular file"):
        fetch_checked([pipe.as_uri()], "0" * 64, tmp_path / "got", "the archive")
    with pytest.raises(UserError, match=r"pipe\.png: cannot be read as an image \(no regular"):
        read_image(pipe)
