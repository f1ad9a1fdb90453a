"""Launch of one training process per GPU, by torchrun's own agent, on one node or several.

On several nodes the program calls itself through `srun`, once per node. In each of these tasks an
agent starts the node's processes, and they meet at a port of the first node.
"""

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from ddpm_bench.errors import EXIT_SAVED_AND_STOPPED, STOP_SIGNALS, UserError
from ddpm_bench.files import read_json, write_json
from ddpm_bench.machine.compute_device import check_gpu_in_another_process, gpu_is_usable
from ddpm_bench.machine.host import usable_threads
from ddpm_bench.machine.process_group import LOOPBACK, one_node_environment
from ddpm_bench.machine.signals import on_stop_signals
from ddpm_bench.machine.slurm_job import job_id, node_address, node_name

PR_SET_PDEATHSIG = 1  # prctl(2)
STATUS_FILE = "DDPM_BENCH_STATUS_FILE"
MEETING_POINT = "DDPM_BENCH_MEETING_POINT"  # host:port, set in the tasks of run_on_nodes
ENDED_FILE = "DDPM_BENCH_ENDED_FILE"
# SLURM decides how long a state may take to save before a job is killed; not torch, after 30 s.
SAVE_SECONDS = "86400"
# An agent alone on its node meets itself in a file, to which each sign of life adds some lines.
ALONE = {"store_type": "file", "keep_alive_interval": 3600}


@dataclass(frozen=True)
class Ended:
    """The end of a training: its exit status, and the signal that stopped it, if one did.

    exit_code: that of the process that failed first, negative for a signal; None where none is
    known.
    """

    status: int
    signal: int | None = None
    exit_code: int | None = None


@dataclass(frozen=True)
class Share:
    """One node's part of a launch: its rank among the nodes, and the host and port of the first.

    Alone, a node needs no meeting point, except for the cells of the throughput benchmark.
    """

    nodes: int = 1
    rank: int = 0
    meeting_point: str = "localhost:0"


def run_processes(processes: int, cpus: int, command: list[str], share: Share = Share()) -> Ended:
    """Run a Python program in several processes; return how the first one here ended.

    cpus: threads of each process, if it may use so many. Raises UserError where there are GPUs that
    torch cannot use.

    The agent runs in this process, which holds the leases of the GPUs: they are free when the
    processes have ended, and not before. It forwards signals to stop to them, on which they save
    and end.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if gpu_is_usable():  # one error, and not one of each process
        check_gpu_in_another_process()
    logging.getLogger("torch.distributed.elastic").setLevel(logging.ERROR)
    os.environ["OMP_NUM_THREADS"] = str(usable_threads(cpus, processes))
    signals = ",".join(item.name for item in STOP_SIGNALS)
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = signals
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SAVE_SECONDS)
    alone = share.nodes == 1
    if alone:
        os.environ.update(one_node_environment())
        # The agent would serve a store at all addresses; the first process serves one instead.
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        status = Path(folder, "status")
        os.environ[STATUS_FILE] = str(status)
        config = LaunchConfig(
            min_nodes=share.nodes,
            max_nodes=share.nodes,
            nproc_per_node=processes,
            rdzv_backend="c10d" if alone else "static",
            rdzv_endpoint=str(Path(folder, "rendezvous")) if alone else share.meeting_point,
            rdzv_configs=ALONE if alone else {"rank": share.rank},
            local_addr=LOOPBACK if alone else None,
            run_id=uuid.uuid4().hex if alone else f"{job_id()}",
            max_restarts=0,
        )
        config.signals_to_handle = signals  # newer versions of torch ask here
        try:
            elastic_launch(config, entrypoint=sys.executable)(*command)
        except ChildFailedError as error:
            _, first = error.get_first_failure()
            return Ended(_reported(status), exit_code=first.exitcode)
        except SignalException as stopped:
            return Ended(_reported(status), stopped.sigval)
        return Ended(0)


def _reported(status: Path) -> int:
    """Return the status that `report_status` has written; 1 where the process ended before."""
    return int(status.read_text()) if status.exists() else 1


def run_on_nodes(
    nodes: int, processes: int, cpus: int, command: list[str], stopped: list[int] | None = None
) -> Ended:
    """Run a Python program that calls `run_share` once on each of a SLURM job's nodes.

    processes: of each node; cpus: of each process. Signals to stop are forwarded, from now on, and
    noted in `stopped`: srun sends them too, to the nodes that are left when one has failed. Raises
    UserError outside SLURM.
    """
    first = node_name()
    if job_id() is None or first is None:
        raise UserError(
            f"run.nodes = {nodes}: several nodes are started inside a SLURM job, and this process "
            "is in none; run `snakemake --profile profiles/slurm`, or set run.nodes to 1, or start "
            "train.py on each node yourself with torchrun"
        )
    options = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    options += [f"--cpus-per-task={processes * cpus}", "--kill-on-bad-exit=1"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "ended.json")
        task = {MEETING_POINT: f"{node_address(first)}:{free_port()}", ENDED_FILE: str(report)}
        # A session of its own: what is sent to a whole group would reach it twice.
        step = subprocess.Popen(
            ["srun", *options, sys.executable, *command],
            env={**os.environ, **task},
            start_new_session=True,
        )

        def forward(number: int) -> None:
            if stopped is not None:
                stopped.append(number)
            step.send_signal(_for_srun(number))

        on_stop_signals(forward)
        status = step.wait()
        ended = Ended(**read_json(report)) if report.exists() else Ended(1)
    # The first node reports; a failure on another ends the step.
    return Ended(status, ended.signal) if status and not ended.status else ended


def _for_srun(number: int) -> int:
    """Return the signal to send to srun: it forwards two, and ends its step on some others."""
    return number if number in (signal.SIGTERM, signal.SIGUSR1) else signal.SIGTERM


def free_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket.socket() as listening:
        listening.bind(("", 0))
        return listening.getsockname()[1]


def is_share_of_several() -> bool:
    """Return True in a process that `run_on_nodes` has started."""
    return MEETING_POINT in os.environ


def run_share(nodes: int, processes: int, cpus: int, command: list[str]) -> int:
    """Run this node's part of `run_on_nodes`; return the exit status of its task.

    A training that was saved and stopped is no failure of the task: srun would kill the others,
    which may still save.
    """
    share = this_share(nodes)
    ended = run_processes(processes, cpus, command, share)
    report_ended(share, ended)
    return 0 if ended.status == EXIT_SAVED_AND_STOPPED else ended.status


def this_share(nodes: int) -> Share:
    """Return this node's part, in a task of `run_on_nodes`."""
    return Share(nodes, int(os.environ["SLURM_NODEID"]), os.environ[MEETING_POINT])


def report_ended(share: Share, ended: Ended) -> None:
    """Write the end of the program on the first node, for `run_on_nodes` to read."""
    if share.rank == 0:
        write_json(Path(os.environ[ENDED_FILE]), asdict(ended))


def is_one_of_several() -> bool:
    """Return True in a process that `run_processes` or torchrun has started."""
    return "LOCAL_RANK" in os.environ


def has_a_launcher() -> bool:
    """Return True in a process of torchrun, `accelerate launch` or `run_processes`."""
    return is_one_of_several() or "ACCELERATE_MIXED_PRECISION" in os.environ


def die_with_the_launcher() -> None:
    """Ask the kernel for SIGTERM when the process that has started this one dies.

    A training then saves and stops. On Linux only.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def report_status(status: int) -> None:
    """Write the first process's exit status for `run_processes`.

    Its agent learns only that a process has failed, not its status.
    """
    if STATUS_FILE in os.environ and os.environ.get("LOCAL_RANK") == "0":
        Path(os.environ[STATUS_FILE]).write_text(str(status))
