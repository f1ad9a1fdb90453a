"""Archives that are unpacked, and downloads that bring them."""

import hashlib
import io
import json
import os
import stat
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ddpm_bench import files
from ddpm_bench.config.dataset import FetchStage
from ddpm_bench.data import archives
from ddpm_bench.data.archives import extract
from ddpm_bench.data.download import fetch_checked
from ddpm_bench.data.fetching import fetch
from ddpm_bench.errors import UserError
from ddpm_bench.files import sha256


def source(**keys):
    return FetchStage.model_validate_json(json.dumps({"version": 1, "source": keys})).source


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


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
