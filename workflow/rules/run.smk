"""What surrounds a run: who runs it, what its jobs read, and why those that failed did.

Out: results/logs/main/*.json   the main process, for `make status` and `make stop`
     results/logs/config/       the config that a cluster's jobs read
"""

import shlex

from snakemake.cli import get_argument_parser
from snakemake.jobs import Job

from ddpm_bench.runs import main_process
from ddpm_bench.planning import retries
from ddpm_bench.machine import slurm_job
from ddpm_bench.runs.executor_hooks import install_hooks, leave_outputs_to_successors
from ddpm_bench.config.loading import frozen_config
from ddpm_bench.planning.retraining import retrainings
from ddpm_bench.runs.wall_time_warning import pass_warnings_on

FAILURES = []

if workflow.is_main_process:
    for note in retrainings(CONFIG):
        logger.warning(note)
    for name, found in CONFIG.sweeps.items():
        if found.note is not None:
            logger.warning(f"experiments.{name}.sweep: {found.note}")
    # Their manifests would stand for them. A main snakemake that runs may be using them.
    if not main_process.main_processes(Path(RESULTS), jobs.work_names(CONFIG)):
        again = list(retries.to_try_again(CONFIG))
        looks = workflow.output_settings.dryrun or (
            again
            and main_process.only_looks(get_argument_parser().parse_known_args(sys.argv[1:])[0])
        )
        for name, files in again:
            if looks:
                logger.warning(f"{name} failed with other run keys: a run would try it again")
                continue
            logger.warning(f"{name} failed with other run keys: it is tried again")
            for path in files:
                path.unlink(missing_ok=True)
        jobs.look_again()
    if gone := main_process.killed(Path(RESULTS), jobs.work_names(CONFIG)):
        stop = [sys.executable, SCRIPTS / "stop.py", "--configfile", workflow.configfiles[-1]]
        logger.warning(gone.remedy(shlex.join(map(str, stop))))
else:
    pass_warnings_on()
    leave_outputs_to_successors(Job, slurm_job.left_this_node)


onstart:
    # For `make status` and `make stop`.
    main_process.record(Path(RESULTS), jobs.work_names(CONFIG))
    if not workflow.local_exec:
        # Jobs read the config when they start: they get what it holds now, whoever edits it.
        workflow.config_settings.configfiles = [
            frozen_config(config, Path(RESULTS, "logs", "config"))
        ]
        sent = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
        for executor in {workflow.scheduler.get_executor(job) for job in sent}:
            install_hooks(executor, FAILURES)


onerror:
    for failure in FAILURES:
        logger.error(failure.line())
