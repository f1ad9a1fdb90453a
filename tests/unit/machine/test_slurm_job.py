"""What SLURM's answers mean for a program in one of its jobs; the commands are stand-ins."""

import pytest

from ddpm_bench.errors import UserError
from ddpm_bench.machine import slurm_job


@pytest.fixture
def slurm_says(tmp_path, monkeypatch):
    """Put commands in the place of SLURM's, and this process into job 7 on node a."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURMD_NODENAME", "a")

    def say(command: str, script: str) -> None:
        path = tmp_path / command
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return say


@pytest.mark.parametrize(
    ("script", "left"),
    [
        ('[ "$*" = "--noheader --jobs=7 --nodelist=a --format=%T" ] && echo RUNNING', False),
        ("echo COMPLETING", False),
        ("", True),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", True),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", False),
    ],
)
def test_a_job_has_left_a_node_only_when_slurm_says_so(slurm_says, script, left):
    slurm_says("squeue", script)
    assert slurm_job.has_left("7", "a") is left


def test_without_slurm_nothing_has_left(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not slurm_job.has_left("7", "a")
    assert not slurm_job.has_left(None, None)


def test_a_requeue_is_asked_for_this_job_and_reported(slurm_says, capsys):
    slurm_says("scontrol", '[ "$*" = "requeue 7" ]')
    assert slurm_job.requeue()
    assert "SLURM job 7 is in the queue again" in capsys.readouterr().err


def test_a_refused_requeue_is_told_with_its_reason(slurm_says, capsys):
    slurm_says("scontrol", "echo 'Requested operation is presently disabled' >&2; exit 1")
    assert not slurm_job.requeue()
    assert "Requested operation is presently disabled" in capsys.readouterr().err


def test_outside_slurm_no_requeue_is_asked_for(slurm_says, monkeypatch, capsys):
    slurm_says("scontrol", "echo asked >&2")
    monkeypatch.delenv("SLURM_JOB_ID")
    assert not slurm_job.requeue()
    assert capsys.readouterr().err == ""


def test_a_nodes_address_is_slurms(slurm_says):
    slurm_says("scontrol", "echo 'NodeName=a Arch=x86_64 NodeAddr=10.0.0.7 NodeHostName=h'")
    assert slurm_job.node_address("a") == "10.0.0.7"
    slurm_says("scontrol", "exit 1")
    with pytest.raises(UserError, match="scontrol show node a"):
        slurm_job.node_address("a")
