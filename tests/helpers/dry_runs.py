"""Dry runs of many configs in one process: a start costs seconds, a dry run a tenth of one.

In the folder of a study: dry_runs.py SNAKEFILE TARGET < configs.json > jobs.json. For each config
it gives a list of jobs, each as [rule, experiment, dataset or cell, output files], or an error.
"""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
    StorageSettings,
    WorkflowSettings,
)


def do_what_is_asked_only() -> None:
    """Parse each file of rules once, and write no messages of jobs: half of a dry run's time."""
    from snakemake import jobs, workflow  # which cannot be imported before snakemake.api

    parse, known = workflow.parse, {}

    def parse_once(path: Any, of: Any, linemap: dict, **rest: Any) -> tuple[str, int]:
        key = (str(path.get_path_or_uri(secret_free=True)), rest.get("rulecount", 0))
        if key not in known:
            lines: dict[int, int] = {}
            known[key] = (parse(path, of, linemap=lines, **rest), lines)
        parsed, lines = known[key]
        linemap |= lines
        return parsed

    workflow.parse = parse_once
    jobs.Job.log_info = lambda *_, **__: None


def jobs_to_run(
    snakefile: Path, target: str, config: dict
) -> list[tuple[str, str, list[str]]] | str:
    path = Path("config.json").absolute()
    path.write_text(json.dumps(config))
    silence = io.StringIO()
    quiet = OutputSettings(quiet={Quietness.ALL}, dryrun=True)
    with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        try:
            with SnakemakeApi(quiet) as api:
                workflow = api.workflow(
                    resource_settings=ResourceSettings(cores=2),
                    config_settings=ConfigSettings(configfiles=[path]),
                    storage_settings=StorageSettings(),
                    workflow_settings=WorkflowSettings(),
                    snakefile=snakefile,
                    workdir=Path.cwd(),
                )
                workflow.dag(DAGSettings(targets=frozenset({target}))).execute_workflow(
                    executor="dryrun"
                )
                dag = workflow._workflow.dag
                return sorted(
                    (job.rule.name, _about(job), list(map(str, job.output)))
                    for job in dag.jobs
                    if dag.needrun(job) and job.output
                )
        except Exception as error:
            return f"{error}\n{silence.getvalue()}"


def _about(job) -> str:
    names = dict(job.wildcards_dict)
    return names.get("experiment") or names.get("dataset") or names.get("cell") or ""


if __name__ == "__main__":
    do_what_is_asked_only()
    snakefile, target = Path(sys.argv[1]), sys.argv[2]
    answers = [jobs_to_run(snakefile, target, config) for config in json.load(sys.stdin)]
    json.dump(answers, sys.stdout)
