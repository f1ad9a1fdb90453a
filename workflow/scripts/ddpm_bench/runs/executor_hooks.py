"""What a run asks of the executor that hands its jobs to a cluster, beyond what the executor does.

The functions wrap methods of Snakemake's executors (snakemake-interface-executor-plugins), on the
one object that a run has, and of its jobs; they import neither Snakemake nor its plugins.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from ddpm_bench.runs.slurm_failures import SlurmFailure, failure_of


def install_hooks(executor: Any, failures: list[SlurmFailure]) -> None:
    """Ask all of it, before the first job is submitted; `failures` grows by each failed job."""
    submit_trainings_first(executor)
    note_failures(executor, failures)
    remember_min_job_age(executor)


def submit_trainings_first(executor: Any) -> None:
    """Submit trainings before what is ready at the same time: where GPUs are few, all later
    checkpoints wait for the next training, and nothing waits for a sample."""
    submit = executor.run_jobs

    def submit_in_order(jobs: list[Any]) -> None:
        # As a module's, the rule has a prefix: `use rule * from ddpm as ddpm_*`.
        submit(sorted(jobs, key=lambda job: job.name.rpartition("_")[2] != "train"))

    executor.run_jobs = submit_in_order


def note_failures(executor: Any, failures: list[SlurmFailure]) -> None:
    """Note each job that fails and is not sent again.

    A job that somebody cancelled is not, however many `retries` it has left: who cancels a job
    wants it to end.
    """
    report = executor.report_job_error

    def note(job_info: Any, msg: str | None = None, **rest: Any) -> None:
        job, failure = job_info.job, failure_of(job_info, msg or "")
        if failure.state == "CANCELLED":
            job.attempt = max(job.attempt, job.restart_times + 1)
        if job.attempt > job.restart_times:
            failures.append(failure)
        report(job_info, msg=msg, **rest)

    executor.report_job_error = note


def remember_min_job_age(executor: Any) -> None:
    """Keep the SLURM plugin with squeue while the controller is away.

    Before each look at the queue the plugin asks the controller for MinJobAge. Where it gets no
    answer it turns to sacct, which without accounting never answers either: the plugin then forgets
    its jobs, and the run waits for ever. MinJobAge is a setting of the site, so the last answer
    stands.
    """
    plugin = sys.modules[type(executor).__module__]
    if hasattr(plugin, "get_min_job_age"):
        plugin.get_min_job_age = last_answer(plugin.get_min_job_age)


def leave_outputs_to_successors(job_class: Any, has_left: Callable[[], bool]) -> None:
    """In a job: remove no outputs of a failed one where SLURM has sent the job elsewhere meanwhile.

    What runs on a node that was given up for dead may live on, and fail later. Its Snakemake, and
    the one above it, would then remove what the same job has written on another node.
    """
    remove = job_class.cleanup

    async def cleanup(self: Any, skip_outputs: Iterable[Any]) -> None:
        if not has_left():
            await remove(self, skip_outputs)

    job_class.cleanup = cleanup


def last_answer(ask: Callable[[], int | None]) -> Callable[[], int | None]:
    """`ask`, with the answer before where it has none; asks for the first time at once."""
    answer = ask()

    def remembering() -> int | None:
        nonlocal answer
        new = ask()
        answer = answer if new is None else new
        return answer

    return remembering
