"""Bookkeeping of a run: the main process, the config that a cluster's jobs read, failed jobs.

In:  the config; records of earlier runs
Out: results/logs/main/*.json   the main process, for `make status` and `make stop`
     results/logs/config/       the config that a cluster's jobs read
By:  ddpm_bench/runs
"""

from snakemake.cli import get_argument_parser
from snakemake.jobs import Job

RUN = starting.begin(
    workflow, CONFIG, logger, Job, get_argument_parser, SCRIPTS / "commands" / "stop.py"
)


onstart:
    try:
        RUN.start()
    except UserError as error:
        raise WorkflowError(str(error)) from None


onerror:
    RUN.report_failures()
