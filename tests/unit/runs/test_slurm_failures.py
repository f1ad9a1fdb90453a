"""What a run on a cluster says of a failed job, by the words of SLURM's logs and of programs."""

import asyncio
import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest

from ddpm_bench.runs.executor_hooks import (
    last_answer,
    leave_outputs_to_successors,
    note_failures,
    submit_trainings_first,
)
from ddpm_bench.runs.slurm_failures import failure_of

FAILED = "SLURM-job '12' failed, SLURM status is: 'FAILED'. Detailed failure reason unavailable"
LIMIT = "slurmstepd: error: *** STEP 12.0 ON n1 CANCELLED AT 2026-11-21T17:40:00 {} ***"
NAME = "train, experiment=a b, first=0: SLURM job 12 "
MEMORY = (
    NAME + "ran out of memory: mem_mb = 900 was asked for; raise set-resources: train: mem_mb in "
    "profiles/slurm/config.yaml"
)


class Executor:
    """What Snakemake's executors have in common."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.reported: list[str] = []

    def run_jobs(self, jobs: list[SimpleNamespace]) -> None:
        self.submitted += [job.name for job in jobs]

    def report_job_error(self, job_info: SimpleNamespace, msg: str | None = None, **rest) -> None:
        self.reported.append(msg)


def failed_job(folder: Path, slurm_says: str = "", program_says: str = "") -> SimpleNamespace:
    (folder / "12.log").write_text(slurm_says)
    (folder / "train.log").write_text(program_says)
    job = SimpleNamespace(
        name="train",
        wildcards_dict={"experiment": "a b", "first": "0"},
        resources={"mem_mb": 900, "runtime": 2},
        log=[str(folder / "train.log")],
        attempt=1,
        restart_times=3,
        is_group=lambda: False,
    )
    log = folder / "12.log"
    return SimpleNamespace(job=job, external_jobid="12", aux={"slurm_logfile": log})


@pytest.mark.parametrize(
    "slurm_says",
    [
        "slurmstepd-n1: error: Detected 1 oom-kill event(s) in StepId=2.0. Some of your processes",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=2.0. Some of the step tasks have",
        "slurmstepd: error: Step 2.0 exceeded memory limit (950000 > 921600), being killed",
        "slurmstepd: error: StepId=2.0 exceeded memory limit (950000 > 921600), being killed",
    ],
)
def test_memory_is_known_by_the_words_of_each_version(tmp_path, slurm_says):
    job = failed_job(tmp_path, slurm_says, "train small: 0%")
    assert failure_of(job, FAILED).line() == f"{MEMORY} (log: {tmp_path}/train.log)"


def test_wall_time_is_told_from_a_cancelled_job(tmp_path):
    timed_out = failed_job(tmp_path, LIMIT.format("DUE TO TIME LIMIT"))
    line = failure_of(timed_out, FAILED.replace("FAILED", "TIMEOUT")).line()
    assert line.startswith(
        NAME + "ran out of wall time: runtime = 2 (minutes) was asked for; raise set-resources: "
        "train: runtime in profiles/slurm/config.yaml"
    )
    assert f"(log: {tmp_path}/12.log)" in line  # the program has written nothing
    cancelled = failed_job(tmp_path, LIMIT.format(""))
    line = failure_of(cancelled, FAILED.replace("FAILED", "CANCELLED")).line()
    assert line.startswith(NAME + "was cancelled; the next run of snakemake goes on with it")


def test_a_program_speaks_for_itself(tmp_path):
    said = "train: 1%\rtrain: 2%\nerror: results/a: cannot be written, the disk is full\n"
    line = failure_of(failed_job(tmp_path, "", said), FAILED).line()
    assert line.startswith(f"{NAME}failed: error: results/a: cannot be written, the disk is full (")


def test_a_crash_is_told_by_its_exception(tmp_path):
    said = (
        'Traceback (most recent call last):\n  File "train.py"\nValueError: no\nsrun: error: n1\n'
    )
    line = failure_of(failed_job(tmp_path, "", said), FAILED).line()
    assert line.startswith(f"{NAME}failed: ValueError: no (")


def test_a_job_that_slurm_did_not_take_has_no_number(tmp_path):
    refused = failed_job(tmp_path)
    refused.external_jobid, refused.aux = None, None
    line = failure_of(refused, "SLURM sbatch failed. The error message was ...").line()
    assert (
        line == "train, experiment=a b, first=0: was not taken by SLURM: its message stands above"
    )


def test_checkpoints_that_share_a_job_are_told_together(tmp_path):
    shared = failed_job(tmp_path, LIMIT.format("DUE TO TIME LIMIT"))
    members = [
        SimpleNamespace(name="sample", wildcards_dict={"samples": "a", "step": step}, log=[])
        for step in ("20", "40")
    ]
    shared.job = SimpleNamespace(
        name="checkpoints",
        jobs=members,
        resources={"runtime": 5},
        is_group=lambda: True,
    )
    line = failure_of(shared, FAILED.replace("FAILED", "TIMEOUT")).line()
    assert line.startswith("sample, samples=a, step=20+40: SLURM job 12 ran out of wall time")
    assert "set-resources: sample: runtime" in line


def test_a_cancelled_job_is_not_sent_again_and_others_are(tmp_path):
    executor, failures = Executor(), []
    note_failures(executor, failures)
    failed, cancelled = failed_job(tmp_path), failed_job(tmp_path)
    executor.report_job_error(failed, msg=FAILED)
    executor.report_job_error(cancelled, FAILED.replace("FAILED", "CANCELLED"))
    assert failed.job.restart_times > failed.job.attempt - 1  # Snakemake's own condition
    assert not cancelled.job.restart_times > cancelled.job.attempt - 1
    assert [failure.state for failure in failures] == ["CANCELLED"]
    assert len(executor.reported) == 2
    failed.job.attempt = 4
    executor.report_job_error(failed, msg=FAILED)
    assert [failure.state for failure in failures] == ["CANCELLED", "FAILED"]


def test_trainings_are_submitted_before_what_is_ready_with_them():
    executor = Executor()
    submit_trainings_first(executor)
    executor.run_jobs([SimpleNamespace(name=name) for name in ("sample", "train", "score")])
    assert executor.submitted == ["train", "sample", "score"]


def test_a_setting_stands_while_nobody_answers():
    answers = iter([300, None, 600, None])
    min_job_age = last_answer(lambda: next(answers))
    assert [min_job_age() for _ in range(3)] == [300, 600, 600]


@pytest.mark.parametrize("left", [False, True])
def test_a_failed_job_removes_outputs_only_while_slurm_has_it_here(left):
    removed = []

    class Job:
        async def cleanup(self, skip_outputs):
            removed.append(skip_outputs)

    leave_outputs_to_successors(Job, lambda: left)
    asyncio.run(Job().cleanup(["kept"]))
    assert removed == ([] if left else [["kept"]])


def test_snakemakes_jobs_remove_their_outputs_by_the_method_that_is_wrapped():
    from snakemake.jobs import Job

    assert asyncio.iscoroutinefunction(Job.cleanup)
    assert list(inspect.signature(Job.cleanup).parameters) == ["self", "skip_outputs"]
