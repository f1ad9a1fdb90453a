"""What a run does before its jobs are planned, when it starts, and when it fails."""

import argparse
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from small_study import SMALL

from ddpm_bench.config.loading import check_config
from ddpm_bench.errors import UserError
from ddpm_bench.planning import jobs
from ddpm_bench.runs import main_process, starting

LOGGER = logging.getLogger("starting")
RAW = {**SMALL, "experiments": {"small": {**SMALL["experiments"]["small"]}}}


class Executor:
    """As much of an executor of Snakemake's as is replaced."""

    def run_jobs(self, jobs: list) -> None:
        self.submitted = [job.name for job in jobs]

    def report_job_error(self, job_info, msg=None, **rest) -> None:
        pass


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser()
    options.add_argument("--report")
    options.add_argument("--report-after-run", action="store_true")
    return options


def workflow(**attributes) -> SimpleNamespace:
    """A workflow of Snakemake's on one machine, as far as it is read."""
    given = {
        "is_main_process": True,
        "local_exec": True,
        "output_settings": SimpleNamespace(dryrun=False),
        "modifier": SimpleNamespace(namespace=None),
        "configfiles": [Path("config.yaml")],
        "config_settings": SimpleNamespace(configfiles=[]),
        "config": RAW,
        "dag": SimpleNamespace(needrun_jobs=list),
    }
    return SimpleNamespace(**{**given, **attributes})


@pytest.mark.parametrize("misfit", [None, "torch 2.14 does not fit this machine"])
def test_a_run_starts_with_a_line_on_gpus_that_torch_cannot_use(monkeypatch, caplog, misfit):
    monkeypatch.setattr(starting, "misfit_of_this_machine", lambda: misfit)
    run = starting.Run(workflow(), check_config(RAW), LOGGER)
    with caplog.at_level(logging.WARNING, LOGGER.name):
        run.note_what_changed()
    assert caplog.messages.count(misfit) == (misfit is not None)


@pytest.fixture
def manifest(tmp_path, monkeypatch) -> Path:
    """The manifest of a training that failed with other run keys, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["snakemake"])
    path = Path("results/small/training/job-00000000-00000020.json")
    path.parent.mkdir(parents=True)
    why = {"status": "out of memory", "reason": "no", "step": 0, "how": {"cpus": 7}}
    path.write_text(json.dumps({"checkpoints": [], "failed": why}))
    jobs.look_again()
    yield path
    jobs.look_again()


def begin(**attributes) -> starting.Run:
    stop = Path("commands/stop.py")
    return starting.begin(
        workflow(**attributes), check_config(RAW), LOGGER, SimpleNamespace, parser, stop
    )


def test_a_run_forgets_a_failure_that_other_run_keys_may_avoid(manifest, caplog):
    begin()
    assert not manifest.exists()
    assert "small failed with other run keys: it is tried again" in caplog.text


@pytest.mark.parametrize("why", ["dry run", "report", "main process", "locked outer workflow"])
def test_a_failure_is_remembered_where_no_job_runs_or_another_run_may_need_it(
    manifest, monkeypatch, why
):
    attributes = {}
    if why == "dry run":
        attributes["output_settings"] = SimpleNamespace(dryrun=True)
    elif why == "report":
        monkeypatch.setattr("sys.argv", ["snakemake", "--report", "page.html"])
    elif why == "main process":
        main_process.record(Path("results"), ["small"])
    else:
        attributes["modifier"] = SimpleNamespace(namespace="ddpm")
        lock = Path(".snakemake/locks/0.input.lock")
        lock.parent.mkdir(parents=True)
        lock.touch()
    begin(**attributes)
    assert manifest.exists()


def test_a_process_of_a_job_touches_no_failure_and_passes_warnings_on(manifest, monkeypatch):
    passed = []
    monkeypatch.setattr(starting, "pass_warnings_on", lambda: passed.append("on"))
    monkeypatch.setattr(
        starting, "leave_outputs_to_successors", lambda *given: passed.append(given)
    )
    begin(is_main_process=False)
    assert manifest.exists()
    assert passed == ["on", (SimpleNamespace, starting.left_this_node)]


def test_a_run_on_one_machine_is_registered_and_keeps_its_config_file(manifest):
    run = begin()
    run.start()
    assert [main.experiments for main in main_process.main_processes(Path("results"))] == [
        ("small",)
    ]
    assert run.workflow.config_settings.configfiles == []


def test_a_run_that_cannot_write_its_results_stops_before_it_records_itself(manifest, monkeypatch):
    job = SimpleNamespace(name="train", is_local=True, output=["results/small/training/a.json"])
    run = begin(dag=SimpleNamespace(needrun_jobs=lambda: [job]))
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match="results/small/training: files are to be made there"):
        run.start()
    assert not Path("results/logs").exists()


def test_a_failure_is_remembered_in_results_that_cannot_be_written(manifest, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    begin()
    assert manifest.exists()


def test_a_run_on_a_cluster_freezes_the_config_and_hooks_into_each_executor(manifest):
    executor = Executor()
    planned = [
        SimpleNamespace(name="train", is_local=False, output=["results/small/training/a.json"]),
        SimpleNamespace(name="collect", is_local=True, output=["results/small/report/b.csv"]),
    ]

    def executor_of(job):
        assert not job.is_local
        return executor

    run = begin(
        local_exec=False,
        dag=SimpleNamespace(needrun_jobs=lambda: planned),
        scheduler=SimpleNamespace(get_executor=executor_of),
    )
    run.start()
    (frozen,) = run.workflow.config_settings.configfiles
    assert yaml.safe_load(frozen.read_text()) == RAW
    executor.run_jobs([SimpleNamespace(name=name) for name in ("sample", "ddpm_train")])
    assert executor.submitted == ["ddpm_train", "sample"]


def test_failed_jobs_are_listed_in_the_end(manifest, caplog):
    run = begin()
    run.failures.append(SimpleNamespace(line=lambda: "train: ran out of memory"))
    run.report_failures()
    assert "train: ran out of memory" in caplog.text
