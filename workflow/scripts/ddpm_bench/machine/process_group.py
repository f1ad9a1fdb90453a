"""The group of processes that share a training, and the addresses at which they listen.

Torch's store, in which the processes of a group find each other, listens at all addresses of a
machine, and so does gloo at that of its host name: whoever reaches the machine could write into
them. The processes of one node need the loopback only.
"""

import os
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
