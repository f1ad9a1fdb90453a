"""The internals of Snakemake and of its SLURM plugin that are replaced or read are still there."""

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake_executor_plugin_slurm
from import_arrows import LIBRARY
from places import REPOSITORY
from snakemake.api import SnakemakeApi
from snakemake.jobs import GroupJob, Job
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
    StorageSettings,
    WorkflowSettings,
)
from snakemake.shell import shell
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from ddpm_bench.machine.host import GRANTED
from ddpm_bench.runs.executor_hooks import READ, REPLACED

# Attributes of Snakemake's workflow that its documentation names.
DOCUMENTED = {"workflow.basedir"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> dict[str, Any]:
    """The objects whose attributes are listed, from a dry run of one rule."""
    folder = tmp_path_factory.mktemp("internals")
    snakefile = folder / "Snakefile"
    snakefile.write_text("rule one:\n    output: 'one'\n    shell: 'touch one'\n")
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
        started = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(),
            storage_settings=StorageSettings(),
            workflow_settings=WorkflowSettings(),
            snakefile=snakefile,
            workdir=folder,
        )
        started.dag(DAGSettings()).execute_workflow(executor="dryrun")
        workflow = started._workflow
        (job,) = workflow.dag.jobs
        yield {
            "workflow": workflow,
            "persistence": workflow.persistence,
            "path_modifier": workflow.modifier.path_modifier,
            "executor": RemoteExecutor,
            "job": job,
            "job_class": Job,
            "group_job": GroupJob,
            "job_info": SimpleNamespace(
                **{field.name: None for field in dataclasses.fields(SubmittedJobInfo)}
            ),
            "plugin": snakemake_executor_plugin_slurm,
        }


@pytest.mark.parametrize("name", [*REPLACED, *READ])
def test_what_is_replaced_or_read_of_snakemake_is_there(objects, name):
    kind, *path, last = name.split(".")
    found = objects[kind]
    for part in path:
        found = getattr(found, part)
    assert last in dir(found), f"{name} is gone: see where the library uses it"


def test_all_that_rules_read_of_the_workflow_is_listed():
    used = set()
    for path in (REPOSITORY / "Snakefile", *Path(REPOSITORY, "workflow", "rules").glob("*.smk")):
        used |= set(re.findall(r"(?<![\w/])workflow\.[a-z_]+(?:\.[a-z_]+)*", path.read_text()))
    assert used - DOCUMENTED - set(READ) - set(REPLACED) == set()


def test_the_library_imports_nothing_of_snakemake():
    imports = re.compile(r"^\s*(?:from|import) snakemake", re.M)
    assert [path for path in LIBRARY.rglob("*.py") if imports.search(path.read_text())] == []


def test_a_job_is_given_the_number_of_its_threads_in_a_variable():
    assert shell(f"echo ${GRANTED}", threads=3, read=True).split() == ["3"]
