"""Fetching from folders, repositories, archives and downloads."""

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from places import SCRIPTS

from ddpm_bench import files
from ddpm_bench.config.dataset import FetchStage
from ddpm_bench.data import archives
from ddpm_bench.data.archives import extract
from ddpm_bench.data.download import fetch_checked
from ddpm_bench.data.fetching import fetch
from ddpm_bench.data.file_listing import folder_listing, matches, matching_files, split_patterns
from ddpm_bench.errors import UserError
from ddpm_bench.files import sha256


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


# Downloads and archives


def pack_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def pack_tar(path, members, compression=""):
    with tarfile.open(path, f"w:{compression}") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


IMAGES = {"set/a/1.png": b"one", "set/b/2.png": b"two", "set/readme.txt": b"text"}


def url_source(archive, **keys):
    return source(kind="url", url=archive.as_uri(), **({"sha256": sha256(archive)} | keys))


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_archives_give_the_files_that_match(tmp_path, suffix):
    archive = tmp_path / f"set.{suffix}"
    if suffix == "zip":
        pack_zip(archive, IMAGES)
    else:
        pack_tar(archive, IMAGES, {"tar": "", "tgz": "gz"}.get(suffix, suffix[4:]))
    found = fetch(url_source(archive, include=["**/*.png"]), tmp_path / "out" / "raw")
    assert (tmp_path / "out" / "raw" / "set" / "b" / "2.png").read_bytes() == b"two"
    assert found["files"] == 2


def test_a_wrong_checksum_leaves_nothing_behind_and_both_are_named(tmp_path):
    archive = pack_zip(tmp_path / "set.zip", IMAGES)
    with pytest.raises(UserError) as raised:
        fetch(url_source(archive, sha256="0" * 64), tmp_path / "out" / "raw")
    assert sha256(archive) in str(raised.value) and "0" * 64 in str(raised.value)
    assert below(tmp_path / "out") == []


def evil_zip(path, name, mode=stat.S_IFREG):
    member = zipfile.ZipInfo(name)
    member.external_attr = (mode | 0o644) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fine.png", b"fine")
        archive.writestr(member, b"/etc/passwd")
    return path


def evil_tar(path, name, kind=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("fine.png"), io.BytesIO())
        archive.addfile(member, io.BytesIO())
    return path


@pytest.mark.parametrize("pack", [evil_zip, evil_tar])
@pytest.mark.parametrize(
    "name", ["../out.png", "a/../../out.png", "/tmp/out.png", "..\\out.png", "C:\\out.png", "../d/"]
)
def test_archives_with_a_member_that_leaves_are_refused_whole(tmp_path, pack, name):
    archive = pack(tmp_path / f"set.{pack.__name__[5:]}", name)
    with pytest.raises(UserError, match="leaves its folder; refused as a whole") as raised:
        fetch(url_source(archive), tmp_path / "out" / "raw")
    assert name.rstrip("/").replace("\\", "\\\\") in str(raised.value)
    assert not (tmp_path / "out" / "raw").exists()
    assert not list(tmp_path.rglob("out.png"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_tars_with_links_or_devices_are_refused_whole(tmp_path, kind):
    archive = evil_tar(tmp_path / "set.tar", "link.png", kind)
    with pytest.raises(UserError, match=r"'link\.png' is a link, device or sparse file"):
        fetch(url_source(archive), tmp_path / "out" / "raw")
    assert not (tmp_path / "out" / "raw").exists()


def test_zips_with_links_are_refused_whole(tmp_path):
    archive = evil_zip(tmp_path / "set.zip", "link.png", stat.S_IFLNK)
    with pytest.raises(UserError, match=r"'link\.png' is a link, device or sparse file"):
        fetch(url_source(archive), tmp_path / "out" / "raw")


def test_tars_with_sparse_files_are_refused_whole(tmp_path):
    """They declare more bytes than the archive holds. This one is of five bytes, without a hole."""
    member = tarfile.TarInfo("hole.png")
    member.size, member.pax_headers = 5, {"GNU.sparse.map": "0,5", "GNU.sparse.size": "5"}
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.addfile(member, io.BytesIO(b"bytes"))
    with pytest.raises(UserError, match=r"'hole\.png' is a link, device or sparse file"):
        fetch(url_source(tmp_path / "set.tar"), tmp_path / "out" / "raw")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_an_archive_that_the_disk_cannot_hold_is_refused_before_unpacking(
    tmp_path, suffix, monkeypatch
):
    archive, content = tmp_path / f"set.{suffix}", {"a.png": b"0" * 600, "b.png": b"1" * 600}
    pack_zip(archive, content) if suffix == "zip" else pack_tar(archive, content, suffix[4:])
    monkeypatch.setattr(files, "room", lambda path: 1199)
    with pytest.raises(UserError, match=r"takes 1\.2 kB or more unpacked, and 1\.2 kB are free in"):
        extract(archive, tmp_path / "raw", ["**/*"])
    assert not (tmp_path / "raw").exists()
    assert extract(archive, tmp_path / "raw", ["a.png"]) == 1, "what does not match needs no room"
    monkeypatch.setattr(files, "room", lambda path: 1200)
    assert extract(archive, tmp_path / "all", ["**/*"]) == 2


@pytest.mark.parametrize(("held", "named"), [(2 << 20, "more"), (10, "10")])
def test_a_member_has_the_size_that_it_declares(tmp_path, held, named):
    member = archives.Member("a.png", 1000, io.BytesIO(b"0" * held))
    expected = f"'a.png' declares 1000 bytes and holds {named}; refused"
    written = io.BytesIO()
    with pytest.raises(UserError, match=expected):
        archives._write(member, written, Path("set.zip"))
    assert len(written.getvalue()) <= 1000


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tar.xz"])
def test_broken_archives_are_one_clear_error(tmp_path, suffix):
    whole = tmp_path / f"whole.{suffix}"
    content = {"a.png": os.urandom(50_000)}
    pack_zip(whole, content) if suffix == "zip" else pack_tar(whole, content, suffix[4:])
    broken = tmp_path / f"set.{suffix}"
    broken.write_bytes(whole.read_bytes()[:20_000])
    with pytest.raises(UserError, match=r"cannot be unpacked"):
        fetch(url_source(broken), tmp_path / "out" / "raw")
    assert not (tmp_path / "out" / "raw").exists()


def test_an_archive_without_matches_shows_what_it_has(tmp_path):
    archive = pack_zip(tmp_path / "set.zip", IMAGES)
    with pytest.raises(UserError, match=r"it has 3 files, such as 'set/readme.txt'"):
        extract(archive, tmp_path, ["*.gif"])


@pytest.fixture
def server(tmp_path):
    """Serve the folder `tmp_path`/web by HTTP; yield the address."""
    (tmp_path / "web").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_download_tries_each_address_until_one_has_the_right_file(tmp_path, server):
    (tmp_path / "web" / "wrong.bin").write_bytes(b"wrong")
    (tmp_path / "web" / "right.bin").write_bytes(b"right")
    digest = hashlib.sha256(b"right").hexdigest()
    urls = [f"{server}/{name}.bin" for name in ("missing", "wrong", "right")]
    fetch_checked(urls, digest, tmp_path / "new" / "file.bin", "the file")
    assert below(tmp_path / "new") == ["file.bin"]
    assert (tmp_path / "new" / "file.bin").read_bytes() == b"right"


def test_a_download_of_unknown_length_takes_at_most_half_of_the_free_disk(tmp_path, monkeypatch):
    (tmp_path / "long.bin").write_bytes(b"0" * 1000)
    urls = [(tmp_path / "long.bin").as_uri()]
    digest = sha256(tmp_path / "long.bin")
    monkeypatch.setattr("email.message.Message.get", lambda self, name, failobj=None: failobj)
    monkeypatch.setattr(files, "room", lambda path: 1998)
    with pytest.raises(UserError, match=r"sent 999 bytes without naming its length, which is 50%"):
        fetch_checked(urls, digest, tmp_path / "new" / "file.bin", "the file")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(files, "room", lambda path: 2000)
    fetch_checked(urls, digest, tmp_path / "new" / "file.bin", "the file")
    assert (tmp_path / "new" / "file.bin").stat().st_size == 1000


def test_a_download_that_the_disk_cannot_hold_is_refused_before_it_begins(tmp_path, monkeypatch):
    (tmp_path / "long.bin").write_bytes(b"0" * 1000)
    urls = [(tmp_path / "long.bin").as_uri()]
    monkeypatch.setattr(files, "room", lambda path: 999)
    with pytest.raises(UserError, match=r"long\.bin: has 1\.0 kB and 999 bytes are free in .*new"):
        fetch_checked(urls, "0" * 64, tmp_path / "new" / "file.bin", "the file")
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_there_needs_no_network(tmp_path):
    (tmp_path / "file.bin").write_bytes(b"right")
    digest = hashlib.sha256(b"right").hexdigest()
    fetch_checked(["http://127.0.0.1:1/"], digest, tmp_path / "file.bin", "the file")
    assert (tmp_path / "file.bin").read_bytes() == b"right"


def test_a_failed_download_says_in_one_line_how_to_bring_the_file(tmp_path):
    path = tmp_path / "new" / "file.bin"
    urls = ["http://127.0.0.1:1/file.bin", (tmp_path / "gone").as_uri()]
    with pytest.raises(UserError) as raised:
        fetch_checked(urls, "0" * 64, path, "the weights")
    message = str(raised.value)
    assert all(part in message for part in (*urls, "0" * 64, f"copy it to {path}", "the weights"))
    assert "\n" not in message
    assert not path.parent.exists()


def test_a_wrong_file_is_kept_until_the_right_one_is_there(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"wrong")
    with pytest.raises(UserError):
        fetch_checked(["http://127.0.0.1:1/"], "0" * 64, path, "the file")
    assert path.read_bytes() == b"wrong"
