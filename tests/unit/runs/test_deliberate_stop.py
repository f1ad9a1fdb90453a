"""Signals to a main process whose jobs run on a cluster, or that ignores a lost connection."""

import logging
import os
import signal

import pytest
from small_study import SMALL

from ddpm_bench.config.loading import check_config
from ddpm_bench.runs.deliberate_stop import DeliberateStop


@pytest.fixture
def snakemakes(tmp_path, monkeypatch):
    """The signals that Snakemake's own handlers have got, in a folder without results."""
    monkeypatch.chdir(tmp_path)
    got: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, lambda number, frame: got.append(number))
    yield got
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def logger():
    made = logging.getLogger("deliberate stop")
    yield made
    made.filters.clear()


def stop_of(logger) -> DeliberateStop:
    return DeliberateStop(check_config(SMALL), logger, "make run PROFILE=slurm")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_jobs_of_a_cluster_are_left_to_snakemake_and_the_way_on_is_logged(
    snakemakes, logger, caplog, number
):
    stop = stop_of(logger)
    stop.listen(on_this_machine=False)
    os.kill(os.getpid(), number)
    assert (snakemakes, stop.asked) == ([number], True)
    logger.error("job 7 was cancelled")
    stop.report()
    logger.error("at least one job did not complete")
    way_on = "stopped; what is finished is kept; to go on: make run PROFILE=slurm"
    # On SIGTERM the jobs go on, and their failures are shown.
    failures = ["job 7 was cancelled"] if number == signal.SIGTERM else []
    assert caplog.messages == [*failures, way_on]


def test_a_lost_connection_is_no_stop_under_nohup_nor_where_a_cluster_has_the_jobs(
    snakemakes, logger
):
    stop_of(logger).listen(on_this_machine=False)
    os.kill(os.getpid(), signal.SIGHUP)
    assert snakemakes == [signal.SIGHUP]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = stop_of(logger)
    stop.listen(on_this_machine=True)
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.asked
