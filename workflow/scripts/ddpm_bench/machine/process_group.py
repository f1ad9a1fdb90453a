"""The group of processes that share a training, and the addresses at which they listen.

Torch's store, in which the processes of a group find each other, listens at all addresses of a
machine, and so does gloo at that of its host name: whoever reaches the machine could write into
them. The processes of one node need the loopback only.
"""

import os
import re
import socket
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    import torch.distributed as dist

LOOPBACK = "127.0.0.1"
ON_ONE_NODE = "DDPM_BENCH_ON_ONE_NODE"  # set in processes that meet on this machine
# Others wait this long for the first process, which reads all images and checkpoints of a training
# for their checksums. Torch would give up after 5 minutes at the store, 10 with NCCL, 30 with gloo.
PATIENCE = timedelta(hours=2)
# Processes that have met, and share each step, wait this long for one of them: the first one saves
# (20 GB for a network of a billion weights: 7 minutes at 50 MB/s), or one compiles while others
# find their code. A process that is alive and silent for longer hangs.
PATIENCE_ONCE_MET = timedelta(minutes=30)
OF_SILENCE = re.compile(r"timed out waiting", re.I)  # gloo; NCCL ends its process with a message


def one_node_environment() -> dict[str, str]:
    """Return environment variables by which the processes of one node listen on the loopback.

    Addresses of the user's choice are for several nodes, and do not matter here.
    """
    interface = "lo" if sys.platform == "linux" else "lo0"
    return {
        ON_ONE_NODE: "1",
        "GLOO_SOCKET_IFNAME": interface,
        "NCCL_SOCKET_IFNAME": interface,
    }


def join_process_group(on_gpu: bool, device: "torch.device | None" = None) -> None:
    """Join the group that torchrun's environment variables describe, with NCCL or gloo.

    Does nothing in a process that has joined, or that is alone.
    """
    import torch.distributed as dist

    if "LOCAL_RANK" not in os.environ or dist.is_initialized():
        return
    meeting = {}
    if ON_ONE_NODE in os.environ:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        meeting = {"store": _loopback_store(rank, world), "rank": rank, "world_size": world}
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE, device_id=device, **meeting)


def shorten_patience() -> None:
    """Let collectives from now on fail after PATIENCE_ONCE_MET; without a group, do nothing."""
    import torch.distributed as dist

    if dist.is_initialized():
        # Public since torch 2.14.
        set_timeout = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout
        set_timeout(PATIENCE_ONCE_MET)


def silence_in_words(error: BaseException) -> str | None:
    """Return the message for the user of a collective's time-out; None for any other error."""
    if not OF_SILENCE.search(str(error)):
        return None
    return (
        "another process of this training has not answered for at least "
        f"{PATIENCE_ONCE_MET.total_seconds() / 60:g} minutes; the same command goes on from the "
        "last saved state. If that happens again, look for errors of GPUs (dmesg) and of the file "
        "system on each node, set NCCL_DEBUG=INFO, or train in one process (run.gpus: 1)"
    )


def _loopback_store(rank: int, world: int) -> "dist.TCPStore":
    """Return the store of the group at MASTER_PORT, which the first process serves."""
    import torch.distributed as dist

    port = int(os.environ["MASTER_PORT"])
    if rank > 0:
        return dist.TCPStore(LOOPBACK, port, world, is_master=False, timeout=PATIENCE)
    listening = socket.create_server((LOOPBACK, port), backlog=max(128, world))
    return dist.TCPStore(
        *(LOOPBACK, port, world),
        is_master=True,
        timeout=PATIENCE,
        master_listen_fd=listening.detach(),
    )
