"""Reasons why a cell has no measurement, each with a remedy."""

import time

from ddpm_bench.config.benchmark import CellMeasuring
from ddpm_bench.errors import UserError
from ddpm_bench.machine.memory_limit import is_out_of_memory, more_memory
from ddpm_bench.machine.process_failures import (
    ProcessFailure,
    first_line,
    one_line,
    what_did_not_fit,
)
from ddpm_bench.planning.benchmark_cells import UnsupportedError
from ddpm_bench.records.cell_record import Status


def memory_remedy(measuring: CellMeasuring, ceiling: int | None) -> str:
    """Return the advice for a process that ran out of memory.

    ceiling: its limit in bytes on CPUs; None on a GPU, or where there was no limit.
    """
    return more_memory(
        (measuring.memory_mb_per_process, "benchmark.memory_mb_per_process"),
        ceiling,
        "lower batch_size",
        "its share of the memory that was free: lower batch_size or processes, end other programs, "
        "or ask the scheduler for more memory",
    )


def failure_of(
    error: BaseException, measuring: CellMeasuring, ceiling: int | None
) -> ProcessFailure:
    """Return the kind of a failure and its reason in one line, from an exception.

    ceiling: the memory limit of the process, in bytes; None without one.
    """
    now = time.time()
    if isinstance(error, UnsupportedError | UserError):
        kind: Status = "unsupported" if isinstance(error, UnsupportedError) else "crashed"
        return ProcessFailure(kind, one_line(str(error)), now)
    if is_out_of_memory(error):
        remedy = memory_remedy(measuring, ceiling)

        return ProcessFailure("out of memory", f"{what_did_not_fit(error)}; {remedy}", now)
    reason = f"{one_line(first_line(error))} (traceback in the cell's log)"
    return ProcessFailure("crashed", reason, now)
