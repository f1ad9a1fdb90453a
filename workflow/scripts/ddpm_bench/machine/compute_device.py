"""The device and the threads that torch computes with."""

from typing import TYPE_CHECKING

from ddpm_bench.machine.host import usable_cores

if TYPE_CHECKING:
    import torch


def compute_device(cpus: int) -> "torch.device":
    """Let torch use up to `cpus` threads on the CPU; return the GPU, or the CPU without one.

    Imports torch: to be called after GPUs are leased, which decides those that torch sees.
    """
    import torch

    torch.set_num_threads(usable_cores(cpus))
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
