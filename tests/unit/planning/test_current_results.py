"""Results of the present config, by the records beside them and beside what they were made from."""

import copy
import json
from pathlib import Path

import pytest
from small_study import SMALL

from ddpm_bench.config.loading import check_config
from ddpm_bench.planning.current_results import CurrentResults
from ddpm_bench.planning.stages import train_stage
from ddpm_bench.records import job_record
from ddpm_bench.records.job_record import JobRecord, JobRecords
from ddpm_bench.records.layout import manifest

JOBS = 1200  # more than levels of recursion in Python


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """A training of many jobs, each with the manifest of the one before as its input."""
    monkeypatch.chdir(tmp_path)
    config = check_config(copy.deepcopy(SMALL))
    records = JobRecords("results", "resources")
    files = [str(manifest("results", "small", step, step + 1)) for step in range(JOBS)]
    what = json.loads(train_stage(config, "small"))
    Path(files[0]).parent.mkdir(parents=True)
    for step, file in enumerate(files):
        Path(file).touch()
        inputs = {records.name(one): records.input(one) for one in files[max(0, step - 1) : step]}
        # Written plainly: a write of the library waits for the disk.
        record = JobRecord(rule="train", params={"what": what}, inputs=inputs, made=str(step))
        records.file(file).write_text(record.model_dump_json(exclude_unset=True))
    return config, records, files


def test_a_chain_of_a_thousand_jobs_is_followed_to_its_start(chain):
    config, records, files = chain
    assert CurrentResults(config).are_current(files[-1])
    first = records.read(files[0]).model_copy(update={"params": {"what": {"version": 0}}})
    records.file(files[0]).unlink()
    first.write(records.file(files[0]))
    assert not CurrentResults(config).are_current(files[-1])


def test_a_file_without_a_record_is_read_once_until_it_changes(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(job_record, "sha256", lambda path: read.append(path) or "0" * 64)
    statistics = tmp_path / "statistics.npz"
    statistics.write_bytes(b"one")
    records = JobRecords("results", "resources")
    for _ in range(3):
        records.input(str(statistics))
    assert len(read) == 1
    statistics.write_bytes(b"others")
    records.input(str(statistics))
    assert len(read) == 2
