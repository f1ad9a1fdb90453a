"""Why a cell has no measurement, in words with a remedy."""

import time

from ddpm_bench.config.benchmark import CellMeasuring
from ddpm_bench.errors import UserError
from ddpm_bench.machine.memory_limit import is_out_of_memory, share_bytes
from ddpm_bench.machine.process_failures import (
    ProcessFailure,
    first_line,
    one_line,
    what_did_not_fit,
)
from ddpm_bench.planning.benchmark_cells import UnsupportedError
from ddpm_bench.records.cell_record import Status
from ddpm_bench.text import size_text


def ceiling_bytes(measuring: CellMeasuring, processes: int) -> int | None:
    """What each of a node's processes may take on a machine without GPUs: what the config says, at
    most its share of what is free now. None where neither is known."""
    return share_bytes(measuring.memory_mb_per_process, processes)


def how_to_give_more(measuring: CellMeasuring, ceiling: int | None) -> str:
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


def why(error: BaseException, measuring: CellMeasuring, ceiling: int | None) -> ProcessFailure:
    """The kind of an exception and its reason, in one line."""
    now = time.time()
    if isinstance(error, UnsupportedError | UserError):
        kind: Status = "unsupported" if isinstance(error, UnsupportedError) else "crashed"
        return ProcessFailure(kind, one_line(str(error)), now)
    if is_out_of_memory(error):
        remedy = how_to_give_more(measuring, ceiling)
        return ProcessFailure("out of memory", f"{what_did_not_fit(error)}; {remedy}", now)
    reason = f"{one_line(first_line(error))} (traceback in the cell's log)"
    return ProcessFailure("crashed", reason, now)
