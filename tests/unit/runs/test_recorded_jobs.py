"""Jobs whose records are written, and those of which none is."""

import asyncio
import json
from collections import UserList
from pathlib import Path
from types import SimpleNamespace

import pytest

from ddpm_bench.records.job_record import JobRecords
from ddpm_bench.runs import recorded_jobs
from ddpm_bench.runs.recorded_jobs import ATTRIBUTE, RecordedJobs, write_missing_records

IMAGES = "results/datasets/digits/train.npy"


class Persistence:
    """Snakemake's records: one of each job, of settings or inputs that changed or did not."""

    changed = False

    def started(self, job):
        pass

    async def finished(self, job):
        pass

    def has_metadata(self, job):
        return True

    has_outdated_metadata = metadata = code_changed = software_stack_changed = started

    def cleanup_metadata(self, target):
        return False

    def params_changed(self, job, file=None):
        return self.changed

    def input_changed(self, job, file=None):
        return iter(job.output if self.changed == "inputs" else ())


class Job(SimpleNamespace):
    """A job of Snakemake, as far as records need one."""

    __hash__ = object.__hash__

    def __init__(self, output, what):
        rule = SimpleNamespace(name="prepare")
        super().__init__(output=UserList([output]), input=[], params={"what": what}, rule=rule)


@pytest.fixture
def persistence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(IMAGES).parent.mkdir(parents=True)
    Path(IMAGES).touch()
    found = Persistence()
    RecordedJobs(found, SimpleNamespace).places.append(JobRecords("results", "resources"))
    return found


def records() -> list[Path]:
    return list(Path("results").rglob(".*.made"))


@pytest.mark.parametrize("what", ["plain words", "3", 3, ["a"], None])
def test_rules_of_an_outer_workflow_may_have_any_parameter_of_this_name(persistence, what):
    job = Job("results/datasets/mine.json", what)
    Path("results/datasets/mine.json").touch()
    persistence.started(job)
    asyncio.run(persistence.finished(job))
    assert records() == []


def test_a_job_without_outputs_has_no_record(persistence):
    job = Job(IMAGES, json.dumps({"version": 2}))
    Path(IMAGES).unlink()
    asyncio.run(persistence.finished(job))
    assert records() == []


def test_wiped_metadata_of_a_job_include_its_record(persistence):
    asyncio.run(persistence.finished(Job(IMAGES, json.dumps({"version": 2}))))
    assert len(records()) == 1
    assert persistence.cleanup_metadata(IMAGES)
    assert records() == []
    assert not persistence.cleanup_metadata(IMAGES)


@pytest.mark.parametrize(
    ("changed", "writable", "written"),
    [(False, True, 1), (True, True, 0), ("inputs", True, 0), (False, False, 0)],
)
def test_missing_records_are_those_of_unchanged_jobs_in_folders_that_can_be_written(
    persistence, monkeypatch, changed, writable, written
):
    monkeypatch.setattr(recorded_jobs, "is_writable", lambda path: writable)
    persistence.changed = changed
    dag = SimpleNamespace(
        jobs=[Job(IMAGES, json.dumps({"version": 2}))], needrun_jobs=lambda: iter(())
    )
    write_missing_records(SimpleNamespace(persistence=persistence, dag=dag))
    assert hasattr(persistence, ATTRIBUTE)
    assert len(records()) == written
