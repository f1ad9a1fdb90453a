"""Start and end of a run: notes on what is trained anew, recorded failures, the main process.

The Snakefile calls `begin` while it is parsed, and methods of its result when the run starts or
fails. Snakemake's objects are passed in: the library imports none of Snakemake.
"""

import os
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddpm_bench.config.experiment import Config
from ddpm_bench.config.loading import frozen_config
from ddpm_bench.machine.cuda_limits import misfit_of_this_machine
from ddpm_bench.machine.host import keep_users_threads
from ddpm_bench.machine.slurm_job import left_this_node
from ddpm_bench.planning import jobs
from ddpm_bench.planning.removed_weights import check_kept_samples
from ddpm_bench.planning.retraining import repreparations, retrainings
from ddpm_bench.planning.retries import to_try_again
from ddpm_bench.runs import main_process
from ddpm_bench.runs.deliberate_stop import DeliberateStop
from ddpm_bench.runs.executor_hooks import install_hooks, leave_outputs_to_successors
from ddpm_bench.runs.modules import module_name
from ddpm_bench.runs.slurm_failures import SlurmFailure
from ddpm_bench.runs.wall_time_warning import pass_warnings_on
from ddpm_bench.runs.writable import cannot_be_written, check_outputs, is_writable


class Run:
    """One run of the workflow of a config.

    workflow, logger: Snakemake's; config: as checked, whose results the run makes.
    """

    def __init__(self, workflow: Any, config: Config, logger: Any) -> None:
        self.workflow, self.config, self.logger = workflow, config, logger
        self.failures: list[SlurmFailure] = []
        self.stop = DeliberateStop(config, logger, main_process.typed_command())

    @property
    def results(self) -> Path:
        return Path(self.config.results_dir)

    @property
    def names(self) -> list[str]:
        return jobs.work_names(self.config)

    def note_what_changed(self) -> None:
        """Log what is made anew, and what is particular about this machine, schedules and sweeps.

        GPUs that torch cannot use are a warning: jobs may run elsewhere.
        """
        if (misfit := misfit_of_this_machine()) is not None:
            self.logger.warning(misfit)
        anew = (*repreparations(self.config), *retrainings(self.config))
        for note in (*self.config.notes(), *anew):
            self.logger.warning(note)
        for name, found in self.config.sweeps.items():
            if found.note is not None:
                self.logger.warning(f"experiments.{name}.sweep: {found.note}")

    def forget_failures(self, options_parser: Callable[[], ArgumentParser]) -> None:
        """Delete the records of failures that other run keys may avoid, so that their jobs run.

        A failed job leaves a manifest, which would count as its output. Nothing is deleted where
        another main snakemake may be using it, or where this one runs no job.
        """
        if main_process.main_processes(self.results, self.names) or self._may_have_a_rival():
            return
        again = list(to_try_again(self.config))
        only_reports = self.workflow.output_settings.dryrun or not is_writable(self.results)
        only_reports = only_reports or (
            again and main_process.only_reports(options_parser().parse_known_args(sys.argv[1:])[0])
        )
        for name, files in again:
            if only_reports:
                self.logger.warning(f"{name} failed with other run keys: a run would try it again")
                continue
            self.logger.warning(f"{name} failed with other run keys: it is tried again")
            for path in files:
                path.unlink(missing_ok=True)
        jobs.look_again()

    def _may_have_a_rival(self) -> bool:
        """Return True if an outer workflow may run here, which need not record its main process."""
        return module_name(self.workflow) is not None and main_process.is_locked(Path.cwd())

    def note_killed_process(self, stop_program: Path) -> None:
        """Log how to end the jobs of a main process that was killed in this folder, if any."""
        killed = main_process.killed(self.results, self.names)
        # The config of a module may be no file, and the stop program does not know its rules.
        if killed is None or module_name(self.workflow) is not None:
            return
        config_file = self.workflow.configfiles[-1]
        stop = [sys.executable, stop_program, "--configfile", config_file]
        if main_process.COMMAND in os.environ:
            stop = ["make", "stop", f"CONFIG={config_file}"]
        self.logger.warning(killed.remedy(shlex.join(map(str, stop))))

    def start(self) -> None:
        """Register the main process, and on a cluster freeze the config and install the hooks.

        Jobs read the config when they start: they get what it holds now, whoever edits it. Raises
        UserError where the results cannot be written, or would be lost.
        """
        jobs_to_run = list(self.workflow.dag.needrun_jobs())
        outputs = [str(output) for job in jobs_to_run for output in job.output]
        check_outputs(outputs)
        check_kept_samples(self.config, outputs)
        try:
            main_process.record(self.results, self.names)
        except OSError as error:
            raise cannot_be_written(self.results, error) from error
        self.stop.listen(on_this_machine=self.workflow.local_exec)
        if self.workflow.local_exec:
            keep_users_threads()
            return
        frozen = frozen_config(self.workflow.config, self.results / "logs" / "config")
        self.workflow.config_settings.configfiles = [frozen]
        sent = [job for job in jobs_to_run if not job.is_local]
        for executor in {self.workflow.scheduler.get_executor(job) for job in sent}:
            install_hooks(executor, self.failures)

    def report_failures(self) -> None:
        """Log a line for each job that failed on the cluster, or about what a stop has left."""
        for failure in self.failures:
            self.logger.error(failure.line())
        if self.stop.asked:
            self.stop.report()


def begin(
    workflow: Any,
    config: Config,
    logger: Any,
    job_class: Any,
    options_parser: Callable[[], ArgumentParser],
    stop_program: Path,
) -> Run:
    """Do what comes before the jobs are planned, in the main process or in that of a job.

    job_class: Snakemake's Job; options_parser: makes the parser of Snakemake's options;
    stop_program: the command that stops a workflow.
    """
    run = Run(workflow, config, logger)
    if workflow.is_main_process:
        run.note_what_changed()
        run.forget_failures(options_parser)
        run.note_killed_process(stop_program)
    else:
        pass_warnings_on()
        leave_outputs_to_successors(job_class, left_this_node)
    return run
