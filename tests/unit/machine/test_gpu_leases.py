"""Local jobs lease the GPUs that they asked for, and no two hold the same one."""

import itertools
import os
import subprocess
import sys

import pytest
from places import SCRIPTS

from ddpm_bench.errors import UserError
from ddpm_bench.machine import gpu_leases

HOLD = """
import sys, time
from ddpm_bench.machine.gpu_leases import lease
with lease(int(sys.argv[1])) as names:
    print(time.time(), *names, flush=True)
    time.sleep(float(sys.argv[2]))
    print(time.time(), flush=True)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Four stand-in devices with locks of their own."""
    monkeypatch.setenv("DDPM_BENCH_DEVICES", "0,1,2,3")
    monkeypatch.setenv("DDPM_BENCH_DEVICE_LOCKS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def hold(count: int, seconds: float) -> subprocess.Popen:
    command = [sys.executable, "-c", HOLD, str(count), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_eight_jobs_on_four_devices_never_share_one(machine):
    counts = (1, 2, 1, 4, 1, 2, 3, 1)
    jobs = [hold(count, 0.5) for count in counts]
    held = []
    for count, job in zip(counts, jobs, strict=True):
        printed, _ = job.communicate(timeout=60)
        first, last = printed.splitlines()
        start, *names = first.split()
        assert len(set(names)) == count
        held += [(name, float(start), float(last)) for name in names]
    assert len(held) == sum(counts)
    for (one, start, end), (other, other_start, other_end) in itertools.combinations(held, 2):
        assert one != other or end <= other_start or other_end <= start


def test_the_device_of_a_killed_job_is_free_at_once(machine, capsys):
    holder = hold(4, 60)
    assert holder.stdout.readline()
    holder.kill()
    holder.communicate()
    with gpu_leases.lease(4) as names:
        assert sorted(names) == ["0", "1", "2", "3"]
    assert "waiting for" not in capsys.readouterr().err


def test_a_waiting_job_says_for_what(machine):
    holder = hold(4, 3)
    holder.stdout.readline()
    waiter = hold(1, 0)
    printed = waiter.communicate(timeout=60)[1]
    assert "waiting for 1 free GPUs" in printed
    assert f"0 by process {holder.pid}" in printed
    holder.communicate()


def test_the_program_sees_its_devices_only(machine, monkeypatch):
    with gpu_leases.lease(2):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_more_devices_than_there_are_is_an_error(machine):
    with pytest.raises(UserError, match="5 GPUs are asked for"), gpu_leases.lease(5):
        pass


def test_slurms_choice_stands_and_other_slurm_jobs_are_not_waited_for(machine, monkeypatch):
    monkeypatch.delenv("DDPM_BENCH_DEVICES")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with gpu_leases.lease(2) as mine:
        assert (mine, os.environ["CUDA_VISIBLE_DEVICES"]) == (["2", "3"], "2,3")
        monkeypatch.setenv("SLURM_JOB_ID", "8")  # sees the same indices, has other GPUs
        with gpu_leases.lease(2) as others:
            assert others == ["2", "3"]


def test_a_machine_without_gpus_works_unchanged(machine, monkeypatch):
    monkeypatch.setenv("DDPM_BENCH_DEVICES", "")
    with gpu_leases.lease(2) as names:
        assert names == []


def test_slices_go_to_jobs_of_one_process_only(machine, monkeypatch):
    monkeypatch.setenv("DDPM_BENCH_DEVICES", "0,MIG-GPU-1a/3/0,MIG-2b")
    with gpu_leases.lease(1) as whole, gpu_leases.lease(1) as part:
        assert (whole, part) == (["0"], ["MIG-GPU-1a/3/0"])
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-GPU-1a/3/0"
    with pytest.raises(UserError, match=r"offers 1: .*a slice of a GPU"), gpu_leases.lease(2):
        pass


def test_the_folder_of_a_slurm_job_is_removed_with_its_last_lease(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with gpu_leases.lease(1):
        with gpu_leases.lease(2):
            pass
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="failed"), gpu_leases.lease(1):
        raise ValueError("a job that failed")
    assert list(tmp_path.iterdir()) == []
