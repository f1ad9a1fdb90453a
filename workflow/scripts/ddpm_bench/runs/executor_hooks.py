"""Hooks into Snakemake's executor, which hands the jobs of a run to a cluster, and into its jobs.

The functions wrap methods of Snakemake's executors (snakemake-interface-executor-plugins), on the
one object that a run has, and of its jobs; they import neither Snakemake nor its plugins.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from ddpm_bench.runs.slurm_failures import SlurmFailure, failure_of

# All that the Snakefile, the rules and the library read or replace of Snakemake and of its SLURM
# plugin beyond what their documentation describes. A test looks each up in the installed versions.
REPLACED = (
    "workflow.config_settings.configfiles",  # starting.py: the config as it was at the start
    "path_modifier.skip_properties",  # modules.py: the prefix goes into the config instead
    "executor.run_jobs",
    "executor.report_job_error",
    "job.attempt",  # a cancelled job is not tried again
    "job_class.cleanup",
    "job_class.output_mintime",  # recorded_jobs.py: records beside the results decide
    "workflow._prepare_dag",
    "persistence.started",
    "persistence.finished",
    "persistence.has_metadata",
    "persistence.has_outdated_metadata",
    "persistence.params_changed",
    "persistence.input_changed",
    "persistence.code_changed",
    "persistence.software_stack_changed",
    "persistence.cleanup_metadata",
    "plugin.get_min_job_age",
)
READ = (
    "workflow.config",
    "workflow.configfiles",
    "workflow.overwrite_configfiles",
    "workflow.current_basedir",
    "workflow.is_main_process",
    "workflow.local_exec",
    "workflow.parent_groupids",
    "workflow.output_settings.dryrun",
    "workflow.deployment_settings.deployment_method",
    "workflow.resource_settings.default_resources",
    "workflow.resource_settings.cores",
    "workflow.dag.needrun_jobs",
    "workflow.dag.jobs",
    "workflow.persistence",
    "persistence.metadata",
    "workflow.scheduler.get_executor",
    "workflow.modifier.namespace",
    "workflow.modifier.path_modifier",
    "path_modifier.prefix",
    "path_modifier.modifies_prefixes",
    "path_modifier.inner_modifier",
    "job.name",
    "job.is_local",
    "job.is_group",
    "job.restart_times",
    "job.resources",
    "job.wildcards_dict",
    "job.log",
    "group_job.jobs",
    "job_info.job",
    "job_info.external_jobid",
    "job_info.aux",
)


def install_hooks(executor: Any, failures: list[SlurmFailure]) -> None:
    """Install all hooks below before the first job is submitted; `failures` grows by each failed
    job."""
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
    """Add each job that fails and is not sent again to `failures`.

    A cancelled job is never sent again, however many `retries` it has left: who cancels a job wants
    it to end.
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
    """Keep the SLURM plugin using squeue while the controller does not answer.

    Before each look at the queue the plugin asks the controller for MinJobAge. Without an answer it
    turns to sacct, which without accounting never answers either: the plugin then forgets its jobs,
    and the run waits for ever. MinJobAge is a setting of the site, so the last answer is used.
    """
    plugin = sys.modules[type(executor).__module__]
    if hasattr(plugin, "get_min_job_age"):
        plugin.get_min_job_age = last_answer(plugin.get_min_job_age)


def leave_outputs_to_successors(job_class: Any, has_left: Callable[[], bool]) -> None:
    """Keep the outputs of a failed job that SLURM has meanwhile started on another node.

    A program on a node that was given up for dead may live on, and fail later. Its Snakemake, and
    the one above it, would then remove what the same job has written on another node. Called in the
    process of a job; has_left: returns True if SLURM has the job elsewhere.
    """
    remove = job_class.cleanup

    async def cleanup(self: Any, skip_outputs: Iterable[Any]) -> None:
        if not has_left():
            await remove(self, skip_outputs)

    job_class.cleanup = cleanup


def last_answer(ask: Callable[[], int | None]) -> Callable[[], int | None]:
    """Return a function that calls `ask`, and returns the answer before where `ask` has none.

    The first question is asked at once.
    """
    answer = ask()

    def remembering() -> int | None:
        nonlocal answer
        new = ask()
        answer = answer if new is None else new
        return answer

    return remembering
