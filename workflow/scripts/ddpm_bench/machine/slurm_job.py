"""The SLURM job that a program runs in, if any: its id, its nodes, and a place in the queue."""

import os
import re
import signal
import subprocess
import sys

from ddpm_bench.errors import STOP_SIGNALS, UserError

ANSWER_SECONDS = 60  # a busy controller may take its time


def job_id() -> str | None:
    """Return the id of this process's SLURM job; None outside SLURM."""
    return os.environ.get("SLURM_JOB_ID")


def node_name() -> str | None:
    """Return SLURM's name of the node on which this process runs; None outside SLURM."""
    return os.environ.get("SLURMD_NODENAME")


def has_left(job: str | None, node: str | None) -> bool:
    """Return True if SLURM is sure that a job is not on a node (any more).

    So it is after SLURM took the node for dead and sent the job to another: processes that the job
    had started may live on. False wherever SLURM does not answer.
    """
    if job is None or node is None:
        return False
    answer = _answer("squeue", "--noheader", f"--jobs={job}", f"--nodelist={node}", "--format=%T")
    if answer is None:
        return False
    if answer.returncode:
        return "Invalid job id" in answer.stderr  # ended so long ago that it is forgotten
    return not answer.stdout.strip()


def left_this_node() -> bool:
    """Return True if SLURM is sure that this process's job is not on this node any more."""
    return has_left(job_id(), node_name())


def requeue() -> bool:
    """Ask SLURM to run this job once more, as the same job; return True if it will.

    Prints the answer. False outside SLURM.
    """
    job = job_id()
    if job is None:
        return False
    answer = _answer("scontrol", "requeue", job)
    if answer is None or answer.returncode:
        why = answer.stderr.strip() if answer else "scontrol gives no answer"
        _print(f"SLURM job {job} cannot be sent into the queue again: {why}")
        return False
    _print(f"SLURM job {job} is in the queue again, and goes on from there")
    return True


def stay_if_left(why: str) -> None:
    """Print `why` and wait until SLURM ends this process, if its job has gone on without it.

    It must not end by itself: its Snakemake would then remove the outputs of a job that failed,
    which the same job may have written elsewhere. SLURM ends it once it has the node back.
    """
    if not left_this_node():
        return
    _print(
        f"{why}\nSLURM job {job_id()} is not on {node_name()} any more: this process writes "
        "nothing more, and waits until SLURM ends it"
    )
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    while True:
        signal.pause()


def node_address(node: str) -> str:
    """Return a node's address for the other nodes. Raises UserError when SLURM has none."""
    answer = _answer("scontrol", "--oneliner", "show", "node", node)
    found = re.search(r"\bNodeAddr=(\S+)", answer.stdout) if answer else None
    if found is None:
        raise UserError(
            f"`scontrol show node {node}` gives no NodeAddr, by which the processes of several "
            "nodes find each other; set run.nodes to 1, or ask the cluster's administrators"
        )
    return found[1]


def _answer(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Run a command of SLURM's; None where it is missing or does not answer in time."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
