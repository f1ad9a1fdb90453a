"""Processes of one node listen on the loopback only: in a training, and in a cell."""

import sys
import time
from datetime import timedelta

import psutil
import pytest
from measured_cells import MeasuredCell
from training_runs import Run, write_dataset

from ddpm_bench.machine import process_group
from ddpm_bench.machine.launch import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux who listens")


def listening(process: psutil.Process) -> set[str]:
    """Return the addresses at which a process and those below it listen now."""
    found = set()
    for one in (process, *process.children(recursive=True)):
        try:
            connections = one.net_connections("inet")
        except psutil.Error:
            continue
        found |= {item.laddr.ip for item in connections if item.status == psutil.CONN_LISTEN}
    return found


def addresses_until(process, ended) -> set[str]:
    """Return the addresses at which a program and its processes listen until `ended` is true."""
    found: set[str] = set()
    deadline = time.monotonic() + 90
    while not ended():
        assert process.poll() is None and time.monotonic() < deadline
        found |= listening(psutil.Process(process.pid))
        time.sleep(0.02)
    return found


def trains(run: Run) -> bool:
    """Return True when a training has logged a step."""
    logs = (run.results / "training").glob("*/progress.jsonl")
    return any('"trained"' in path.read_text() for path in logs)


def test_two_processes_of_a_training_listen_on_the_loopback_only(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "of-the-cluster")
    write_dataset(tmp_path)
    run = Run(tmp_path, "two", how={"gpus": 2})
    process = run.start(0, 100_000)
    try:
        assert addresses_until(process, lambda: trains(run)) == {"127.0.0.1"}
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 75


@pytest.mark.long
@pytest.mark.new_process
def test_two_processes_of_a_cell_listen_on_the_loopback_only(tmp_path):
    cell = MeasuredCell(tmp_path, cell={"processes": 2}, measuring={"seconds": 0.1, "steps": 2})
    process = cell.start()
    seen = addresses_until(process, cell.output.exists)
    process.communicate(timeout=60)
    assert cell.record().status == "ok", cell.record().reason
    assert seen == {"127.0.0.1"}


def test_processes_wait_for_the_first_one_to_read_all_images(monkeypatch):
    import torch.distributed as dist

    alone = {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": str(free_port())}
    for name, value in {process_group.ON_ONE_NODE: "1", **alone}.items():
        monkeypatch.setenv(name, value)
    assert process_group._loopback_store(rank=0, world=1).timeout >= timedelta(hours=1), "to meet"
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    process_group.join_process_group(on_gpu=False)
    waiting = dist.distributed_c10d._get_default_store().timeout
    dist.destroy_process_group()
    assert waiting >= timedelta(hours=1), "for the checkpoints that are left"
