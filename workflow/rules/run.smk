"""Bookkeeping of a run: the main process, the config that a cluster's jobs read, failed jobs.

In:  the config; records of earlier runs
Out: results/logs/main/*.json   the main process, for `make status` and `make stop`
     results/logs/config/       the config that a cluster's jobs read
     .<output>.made        beside the outputs of each job: its settings and inputs
By:  ddpm_bench/runs
"""

from snakemake.cli import get_argument_parser
from snakemake.jobs import Job
from snakemake.persistence import ParamsChange

RUN = starting.begin(
    workflow, CONFIG, logger, Job, get_argument_parser, SCRIPTS / "commands" / "stop.py"
)
recorded_jobs.use_records(workflow, Job, ParamsChange, RESULTS, RESOURCES)


onstart:
    try:
        RUN.start()
    except UserError as error:
        raise WorkflowError(str(error)) from None
    recorded_jobs.write_missing_records(workflow)


onerror:
    RUN.report_failures()
