"""The memory that a process of a cell may take: a batch too large is a row of the table."""

from ddpm_bench.config.benchmark import Measuring
from ddpm_bench.files import size_text
from ddpm_bench.machine.memory_limit import share_bytes


def ceiling_bytes(measuring: Measuring, processes: int) -> int | None:
    """What each of a node's processes may take on a machine without GPUs: what the config says, at
    most its share of what is free now. None where neither is known."""
    return share_bytes(measuring.memory_mb_per_process, processes)


def how_to_give_more(measuring: Measuring, ceiling: int | None) -> str:
    """The remedy of a process that needed more than this ceiling, or than its GPU has."""
    asked = measuring.memory_mb_per_process
    if asked is not None and (ceiling is None or ceiling >= asked * 10**6):
        return (
            f"a process may take {asked:,} MB (benchmark.memory_mb_per_process): raise it, or "
            "lower batch_size"
        )
    if ceiling is None:
        return "lower batch_size"
    return (
        f"a process may take {size_text(ceiling)}, its share of the memory that was free: lower "
        "batch_size or processes, end other programs, or ask the scheduler for more memory"
    )
