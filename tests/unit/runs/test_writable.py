"""Folders that cannot be written into end a run with one sentence before its first job."""

import errno
import os
from pathlib import Path

import pytest

from ddpm_bench import files
from ddpm_bench.errors import UserError
from ddpm_bench.runs import writable


@pytest.fixture
def read_only(monkeypatch):
    """Makes folders read-only, for the superuser as well."""
    closed, access = set(), os.access

    def can(path, mode, **rest):
        return Path(path).absolute() not in closed and access(path, mode, **rest)

    monkeypatch.setattr(os, "access", can)
    return lambda *folders: closed.update(Path(folder).absolute() for folder in folders)


def test_the_folder_of_a_planned_file_is_named(tmp_path, read_only):
    writable.check_outputs([str(tmp_path / "small" / "a.csv"), str(tmp_path / "b.csv")])
    (tmp_path / "small").mkdir()
    read_only(tmp_path / "small")
    writable.check_outputs([str(tmp_path / "b.csv")])
    with pytest.raises(UserError, match=f"^{tmp_path}/small: files are to be made there") as raised:
        writable.check_outputs([str(tmp_path / "small" / "later" / "a.csv")])
    assert "\n" not in str(raised.value)


def test_a_working_folder_without_room_for_snakemakes_records_is_named(
    tmp_path, monkeypatch, read_only
):
    monkeypatch.chdir(tmp_path)
    writable.check_working_folder()
    (tmp_path / ".snakemake").mkdir()
    read_only(tmp_path)
    writable.check_working_folder()  # its records lie elsewhere
    read_only(tmp_path / ".snakemake")
    with pytest.raises(UserError, match=f"^{tmp_path}: snakemake writes into .snakemake"):
        writable.check_working_folder()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_program_that_may_not_write_ends_with_one_sentence(tmp_path, number):
    path = tmp_path / "a.csv"
    with (
        pytest.raises(UserError, match=r"a\.csv: cannot be written \(.*set results_dir"),
        files.replacing(path) as temporary,
    ):
        raise OSError(number, os.strerror(number), str(temporary))
    with pytest.raises(PermissionError), files.replacing(path):
        raise PermissionError(errno.EACCES, "of another file", "/elsewhere/b.csv")


def test_a_results_folder_that_cannot_be_made_is_named(tmp_path):
    error = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    text = str(writable.cannot_be_written(tmp_path / "results", error))
    assert text.startswith(f"results_dir, {tmp_path}/results: cannot be written into (No such file")
    assert "\n" not in text
