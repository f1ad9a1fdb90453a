"""Hashes of what Snakemake compares of every job that it plans for five configs.

The rules may be written differently; what they plan must stay, or finished results become stale.
tests/workflow/test_planned_jobs.py holds the code to the record.

    python tests/helpers/planned_jobs.py                     print the hashes, as JSON
    python tests/helpers/planned_jobs.py --record            write them into the record
    python tests/helpers/planned_jobs.py --show sweep        print the planned jobs of one config

--snakefile names the code that plans, such as that of an earlier commit; its own is the default.
"""

import argparse
import contextlib
import copy
import hashlib
import io
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from places import REPOSITORY
from small_studies import MODEL_OF_ONE_S_OWN, experiment, latents, shipped_config, sweep
from snakemake.api import SnakemakeApi
from snakemake.resources import Resources
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
    StorageSettings,
    WorkflowSettings,
)

RECORD = REPOSITORY / "tests" / "helpers" / "planned_jobs.json"


def pair() -> dict[str, Any]:
    """Two experiments with all that is asked for by few: Inception, shared jobs, an export, and
    more than 25 checkpoints."""
    config = experiment()
    own = config["experiments"]["small"]
    own["best"] = {"metric": "fid", "score": "classifier", "samples": "dpm4"}
    own["samples"]["dpm4"]["run"]["checkpoints_per_job"] = 2
    own["scores"]["inception"] = {"features": "inception", "run": {"checkpoints_per_job": 2}}
    other = copy.deepcopy(own)
    other["train"] |= {"learning_rate": 1e-4, "checkpoint_every": 1}
    config["experiments"]["other"] = other
    return config


CONFIGS = {
    "demo": (lambda: shipped_config("config.yaml"), "all"),
    "pair": (pair, "all"),
    "latents": (latents, "all"),
    "sweep": (sweep, "all"),
    "benchmark": (lambda: shipped_config("benchmark.yaml"), "benchmark"),
}
# Of the resources of a job, those that follow from the config alone.
FROM_THE_CONFIG = ("how", "gpu", "turn", "nodes", "mpi", "tasks", "tasks_per_gpu", "weights")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--snakefile", type=Path, default=REPOSITORY / "Snakefile")
    what = options.add_mutually_exclusive_group()
    what.add_argument("--record", action="store_true", help="write the record anew")
    what.add_argument("--show", choices=CONFIGS, help="print the jobs of this config as JSON lines")
    given = options.parse_args()
    snakefile = given.snakefile.resolve()
    if given.show:
        for job in planned(snakefile, given.show):
            print(json.dumps(job))
        return
    text = json.dumps(hashes(snakefile), indent=1) + "\n"
    if given.record:
        RECORD.write_text(text)
    else:
        print(text, end="")


def hashes(snakefile: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """For each config and rule: the number of planned jobs, and one hash of all of them."""
    return {name: rule_hashes(planned(snakefile, name)) for name in CONFIGS}


def rule_hashes(jobs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Number and hash of the jobs of each rule; memory and time asked for, estimates, left out."""
    by_rule = defaultdict(list)
    for job in jobs:
        held = {key: value for key, value in job.items() if key != "estimates"}
        by_rule[job["rule"]].append(json.dumps(held, sort_keys=True))
    return {
        rule: {"jobs": len(texts), "sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest()}
        for rule, texts in sorted(by_rule.items())
    }


def planned(snakefile: Path, name: str) -> list[dict[str, Any]]:
    """All jobs that an empty folder needs for a config, in the order of their outputs."""
    make, target = CONFIGS[name]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("own.py").write_text(MODEL_OF_ONE_S_OWN)
        path = Path("config.json").absolute()
        path.write_text(json.dumps(make()))
        with _planning(snakefile, path, target) as workflow:
            jobs = [job for job in workflow.dag.jobs if workflow.dag.needrun(job) and job.output]
            return sorted((_compared(workflow, job) for job in jobs), key=lambda job: job["output"])


@contextlib.contextmanager
def _planning(snakefile: Path, config: Path, target: str) -> Iterator[Any]:
    """Snakemake's workflow after a dry run, with the wall time of a cluster as its default."""
    silence = io.StringIO()
    quiet = OutputSettings(quiet={Quietness.ALL}, dryrun=True)
    with contextlib.redirect_stderr(silence), SnakemakeApi(quiet) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(
                cores=2, default_resources=Resources.from_mapping({"runtime": 1440})
            ),
            config_settings=ConfigSettings(configfiles=[config]),
            storage_settings=StorageSettings(),
            workflow_settings=WorkflowSettings(),
            snakefile=snakefile,
            workdir=Path.cwd(),
        )
        try:
            with contextlib.redirect_stdout(silence):
                workflow.dag(DAGSettings(targets=frozenset({target}))).execute_workflow(
                    executor="dryrun"
                )
        except Exception as error:
            raise SystemExit(f"{error}\n{silence.getvalue()}") from error
        yield workflow._workflow


def _compared(workflow: Any, job: Any) -> dict[str, Any]:
    """Return what Snakemake compares of a job, the command that it runs, and its run keys."""
    resources = {name: job.resources.get(name) for name in FROM_THE_CONFIG}
    return {
        "rule": job.rule.name,
        "output": list(map(str, job.output)),
        "input": workflow.persistence._input(job),
        "params": workflow.persistence._params(job),
        "code": workflow.persistence._code(job.rule),
        "command": job.shellcmd,
        "log": list(map(str, job.log)),
        "benchmark": str(job.benchmark),
        "threads": job.threads,
        "priority": job.priority,
        "group": job.rule.group if isinstance(job.rule.group, str) else str(job.group),
        "resources": {name: str(value) for name, value in resources.items()},
        "estimates": {name: str(job.resources.get(name)) for name in ("mem_mb", "runtime")},
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
