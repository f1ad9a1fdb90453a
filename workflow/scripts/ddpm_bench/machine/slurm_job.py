"""The SLURM job that a program runs in: whether it still does, going on in it later, its nodes."""

import os
import re
import signal
import subprocess
import sys

from ddpm_bench.errors import STOP_SIGNALS, UserError

ANSWER_SECONDS = 60  # a busy controller may take its time


def job_id() -> str | None:
    """The SLURM job of this process; None outside SLURM."""
    return os.environ.get("SLURM_JOB_ID")


def node_name() -> str | None:
    """The node of SLURM's on which this process runs; None outside SLURM."""
    return os.environ.get("SLURMD_NODENAME")


def has_left(job: str | None, node: str | None) -> bool:
    """Whether SLURM says for sure that a job is not on a node (any more).

    So it is after the node was given up for dead and the job was sent to another: what the job had
    started may live on. False wherever SLURM gives no answer.
    """
    if job is None or node is None:
        return False
    asked = _answer("squeue", "--noheader", f"--jobs={job}", f"--nodelist={node}", "--format=%T")
    if asked is None:
        return False
    if asked.returncode:
        return "Invalid job id" in asked.stderr  # ended so long ago that it is forgotten
    return not asked.stdout.strip()


def left_this_node() -> bool:
    """Whether SLURM says for sure that the job of this process is not on this node any more."""
    return has_left(job_id(), node_name())


def requeue() -> bool:
    """Ask SLURM to run this job once more, as the same job; says so, or why it does not."""
    job = job_id()
    if job is None:
        return False
    asked = _answer("scontrol", "requeue", job)
    if asked is None or asked.returncode:
        why = asked.stderr.strip() if asked else "scontrol gives no answer"
        _say(f"SLURM job {job} cannot be sent into the queue again: {why}")
        return False
    _say(f"SLURM job {job} is in the queue again, and goes on from there")
    return True


def stay_if_left(why: str) -> None:
    """Wait for the end, if this process's job has gone on without it.

    It must not end by itself: its Snakemake would then remove the outputs of a job that failed,
    which the same job may have written elsewhere. SLURM ends it once it has the node back.
    """
    if not left_this_node():
        return
    _say(
        f"{why}\nSLURM job {job_id()} is not on {node_name()} any more: this process writes "
        "nothing more, and waits until SLURM ends it"
    )
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    while True:
        signal.pause()


def node_address(node: str) -> str:
    """Where a node is reached by the others. Raises UserError when SLURM does not say it."""
    asked = _answer("scontrol", "--oneliner", "show", "node", node)
    found = re.search(r"\bNodeAddr=(\S+)", asked.stdout) if asked else None
    if found is None:
        raise UserError(
            f"`scontrol show node {node}` gives no NodeAddr, by which the processes of several "
            "nodes find each other; set run.nodes to 1, or ask the cluster's administrators"
        )
    return found[1]


def _answer(*command: str) -> subprocess.CompletedProcess[str] | None:
    """What a command of SLURM's says; None where it is missing or does not answer in time."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
