"""The folder of locks lies where everybody may write: nothing in it is trusted."""

import os
import stat

import pytest

from ddpm_bench.errors import UserError
from ddpm_bench.machine import lock_files
from ddpm_bench.machine.gpu_leases import lease


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The path of the folder of locks, which does not exist, on a machine of two devices."""
    monkeypatch.setenv("DDPM_BENCH_DEVICES", "0,1")
    monkeypatch.setenv("DDPM_BENCH_DEVICE_LOCKS", str(tmp_path / "shared"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    path = lock_files.lock_folder()
    path.parent.mkdir()
    return path


@pytest.fixture
def private(tmp_path):
    """A folder and a file of this user's that nobody else may change."""
    folder = tmp_path / "private"
    folder.mkdir(0o700)
    (folder / "diary").write_text("mine")
    return folder


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_link_in_place_of_the_folder_is_not_followed(place, private):
    place.symlink_to(private)
    with pytest.raises(UserError, match="a link, which is not followed"), lease(1):
        pass
    assert mode(private) == 0o700
    assert [path.name for path in private.iterdir()] == ["diary"]


@pytest.mark.parametrize("name", ["0.lock", "allocator.lock"])
def test_a_link_in_place_of_a_lock_is_not_followed(place, private, name):
    place.mkdir()
    (place / name).symlink_to(private / "diary")
    with pytest.raises(UserError, match=f"{name}: .*a link, which is not followed"), lease(1):
        pass
    assert (private / "diary").read_text() == "mine"


def test_no_content_and_no_mode_of_a_file_that_lies_there_is_changed(place, private):
    place.mkdir()
    (private / "diary").chmod(0o600)
    (place / "0.lock").hardlink_to(private / "diary")
    with lease(1) as names:
        assert names == ["0"]
    assert ((private / "diary").read_text(), mode(private / "diary")) == ("mine", 0o600)
    assert sorted(path.name for path in place.iterdir()) == ["0.lock", "allocator.lock"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_all_users_of_a_machine_can_take_its_locks_whatever_the_umask(place, umask):
    before = os.umask(umask)
    try:
        with lease(2):
            assert mode(place) == 0o777
            assert {mode(path) for path in place.iterdir()} == {0o666}
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_a_folder_that_another_user_has_made_is_used_as_it_is(place, monkeypatch):
    place.mkdir(0o755)
    os.chown(place, 12345, 12345)
    with lease(1):
        assert mode(place) == 0o755
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    of_the_job = lock_files.lock_folder()
    of_the_job.mkdir(0o777)
    os.chown(of_the_job, 12345, 12345)
    with pytest.raises(UserError, match="another user's folder"), lease(1):
        pass


def test_a_lock_whose_folder_was_removed_meanwhile_is_taken_in_a_new_one(place, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with lock_files.open_lock_folder() as old:
        with lease(1):
            pass
        assert not lock_files.lock_folder().exists()
        with pytest.raises(lock_files.RemovedError), old.waited_for("0"):
            pass
    with lease(1) as names:
        assert names == ["0"]
