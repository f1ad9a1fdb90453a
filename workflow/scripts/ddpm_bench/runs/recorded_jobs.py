"""Staleness by the records beside the results, where Snakemake has no record of its own.

Snakemake compares a job with its record in `.snakemake`, and the times of its files. Results that
were moved, copied or cloned have neither; then the record beside them decides.
"""

import json
from pathlib import Path
from typing import Any

from ddpm_bench.config.block import canonical_json, flat_keys
from ddpm_bench.records.job_record import JobRecord, JobRecords, new_number
from ddpm_bench.runs.writable import is_writable

ATTRIBUTE = "records_beside_results"  # of Snakemake's persistence
NEVER_OLDER = float("inf")  # than any input


class RecordedJobs:
    """Snakemake's persistence, which asks for the records beside the results too.

    It takes the place of the methods of one persistence object, for the jobs of this project.
    """

    def __init__(self, persistence: Any, params_change: Any) -> None:
        self.places: list[JobRecords] = []  # of each module
        self._params_change = params_change
        self._deciding: dict[Any, JobRecord | None] = {}
        self._original = {
            name: getattr(persistence, name)
            for name in (
                "started", "finished", "has_metadata", "has_outdated_metadata", "metadata",
                "params_changed", "input_changed", "code_changed", "software_stack_changed",
                "cleanup_metadata",
            )
        }  # fmt: skip
        for name in self._original:
            if name != "metadata":
                setattr(persistence, name, getattr(self, name))
        setattr(persistence, ATTRIBUTE, self)

    def deciding(self, job: Any) -> JobRecord | None:
        """Return the record that decides whether a job is stale; None where Snakemake's does."""
        if job not in self._deciding:
            self._deciding[job] = self._find_deciding(job)
        return self._deciding[job]

    def _find_deciding(self, job: Any) -> JobRecord | None:
        first = next(map(str, job.output), None)
        if first is None or not Path(first).exists():
            return None
        metadata = self._original["metadata"](job.output[0])
        # Snakemake notes the time of a file; another time means another file, or a copy.
        if metadata is not None and abs(metadata.endtime - Path(first).stat().st_mtime) < 1e-6:
            return None
        found = self._records(job)
        return None if found is None else found.read(first)

    def _records(self, job: Any) -> JobRecords | None:
        """Return the records among which a job's would be; None for another project's job."""
        if not job.output or not _is_settings(job.params.get("what")):
            return None
        first = str(job.output[0])
        return next((places for places in self.places if places.file(first) is not None), None)

    def write(self, job: Any) -> None:
        """Write the record of a job that has just ended."""
        records = self._records(job)
        path = None if records is None else records.file(str(job.output[0]))
        if records is None or path is None or not Path(str(job.output[0])).exists():
            return
        existing = [str(file) for file in job.input if Path(str(file)).exists()]
        JobRecord(
            rule=job.rule.name,
            params=self._params(job, records),
            inputs={records.name(file): records.input(file) for file in existing},
            made=new_number(),
        ).write(path)

    def is_unrecorded(self, job: Any) -> bool:
        """Return True for a finished job of these settings of which Snakemake alone has a record.

        With --rerun-triggers mtime a job is no less finished for other settings than it had.
        """
        records = self._records(job)
        return (
            records is not None
            and self._original["has_metadata"](job)
            and records.read(str(job.output[0])) is None
            and not self._original["params_changed"](job)
            and not any(self._original["input_changed"](job))
        )

    @staticmethod
    def _params(job: Any, records: JobRecords) -> dict[str, Any]:
        """Return the parameters of a job, without the folders in which its files lie."""
        found = {name: _plain(value, records) for name, value in job.params.items()}
        found["what"] = json.loads(found["what"])
        return found

    # The methods of Snakemake's persistence.

    def started(self, job: Any, *rest: Any, **options: Any) -> None:
        # A record must never stand beside the outputs of a later run.
        records = self._records(job)
        path = None if records is None else records.file(str(job.output[0]))
        if path is not None:
            path.unlink(missing_ok=True)
        self._original["started"](job, *rest, **options)

    async def finished(self, job: Any) -> None:
        await self._original["finished"](job)
        self._deciding.pop(job, None)
        self.write(job)

    def cleanup_metadata(self, target: Any) -> bool:
        """Delete the records of an output, by which its job then counts as up to date."""
        found = (places.file(str(target)) for places in self.places)
        path = next((file for file in found if file is not None and file.exists()), None)
        if path is not None:
            path.unlink()
            self._deciding.clear()
        return self._original["cleanup_metadata"](target) or path is not None

    def has_metadata(self, job: Any) -> bool:
        return self.deciding(job) is not None or self._original["has_metadata"](job)

    def has_outdated_metadata(self, job: Any) -> bool:
        return self.deciding(job) is None and self._original["has_outdated_metadata"](job)

    def params_changed(self, job: Any, file: Any = None) -> Any:
        record = self.deciding(job)
        records = self._records(job)
        if record is None or records is None:
            return self._original["params_changed"](job, file=file)
        before = _settings(record.params)
        now = _settings(self._params(job, records))
        return self._params_change(
            only_old=before - now,
            only_new=now - before,
            files=set(job.output) if file is None else {file},
        )

    def input_changed(self, job: Any, file: Any = None) -> Any:
        record = self.deciding(job)
        records = self._records(job)
        if record is None or records is None:
            return self._original["input_changed"](job, file=file)
        changed = _other_inputs(record, records, [str(path) for path in job.input])
        return changed if file is not None else iter(job.output if changed else ())

    def code_changed(self, job: Any, file: Any = None) -> Any:
        return self._unless_recorded("code_changed", job, file)

    def software_stack_changed(self, job: Any, file: Any = None) -> Any:
        return self._unless_recorded("software_stack_changed", job, file)

    def _unless_recorded(self, name: str, job: Any, file: Any) -> Any:
        if self.deciding(job) is None:
            return self._original[name](job, file=file)
        return False if file is not None else iter(())


def use_records(
    workflow: Any, job_class: Any, params_change: Any, results: str, resources: str
) -> None:
    """Let the records beside the results decide in the workflow that is being parsed.

    job_class, params_change: Snakemake's Job and ParamsChange; results, resources: the folders of a
    config. The process of a single job plans nothing, and is left as it is.
    """
    if not workflow.is_main_process:
        return
    prepare = workflow._prepare_dag

    def prepare_dag(*rest: Any, **options: Any) -> None:
        prepare(*rest, **options)
        persistence = workflow.persistence
        if not hasattr(persistence, ATTRIBUTE):
            RecordedJobs(persistence, params_change)
        getattr(persistence, ATTRIBUTE).places.append(JobRecords(results, resources))

    workflow._prepare_dag = prepare_dag
    _compare_times_of_unrecorded_jobs_alone(job_class)


def _compare_times_of_unrecorded_jobs_alone(job_class: Any) -> None:
    """Let no input be newer than the outputs of a job whose record decides.

    Copies of files have the time of the copying, in any order.
    """
    original = job_class.output_mintime.fget
    if original.__module__ == __name__:
        return

    async def output_mintime(self: Any) -> float | None:
        recorded = getattr(self.dag.workflow.persistence, ATTRIBUTE, None)
        if recorded is not None and recorded.deciding(self) is not None:
            return NEVER_OLDER
        return await original(self)

    job_class.output_mintime = property(output_mintime)


def write_missing_records(workflow: Any) -> None:
    """Write the records of jobs that earlier versions of this project ran, by Snakemake's.

    Folders that cannot be written into, of another user say, are left as they are.
    """
    recorded = getattr(workflow.persistence, ATTRIBUTE)
    waiting = set(workflow.dag.needrun_jobs())
    for job in workflow.dag.jobs:
        if (
            job not in waiting
            and recorded.is_unrecorded(job)
            and is_writable(Path(str(job.output[0])))
        ):
            recorded.write(job)


def _is_settings(what: Any) -> bool:
    """Return True for settings of a stage; rules of an outer workflow may have any `what`."""
    try:
        return isinstance(json.loads(what), dict)
    except (TypeError, ValueError):
        return False


def _plain(value: Any, records: JobRecords) -> Any:
    """Return a parameter as JSON has it, paths as records have them."""
    if isinstance(value, list | tuple):
        return [_plain(one, records) for one in value]
    return value if isinstance(value, int | float) or value is None else records.name(str(value))


def _settings(params: dict[str, Any]) -> set[str]:
    """Return parameters as texts, one for each key of the settings: what.drawing.steps=20."""
    return {f"{key}={canonical_json(value)}" for key, value in flat_keys(params).items()}


def _other_inputs(record: JobRecord, records: JobRecords, paths: list[str]) -> bool:
    """Return True if a job has other inputs than it had, or one of them was made anew since."""
    now = {records.name(path): path for path in paths}
    return not _given(now, record) or any(
        records.differs(path, record.inputs[name])
        for name, path in now.items()
        if name in record.inputs
    )


def _given(now: dict[str, str], record: JobRecord) -> bool:
    """Return True if the inputs are those of the record, apart from any that were not there."""
    return set(record.inputs) <= set(now) and all(
        name in record.inputs or not Path(path).exists() for name, path in now.items()
    )
