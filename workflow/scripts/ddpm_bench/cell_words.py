"""Why a cell has no measurement, in words with a remedy."""

import time

from ddpm_bench.cell_memory import how_to_give_more
from ddpm_bench.config.benchmark import Measuring
from ddpm_bench.errors import UserError
from ddpm_bench.machine.memory_limit import is_out_of_memory
from ddpm_bench.machine.process_failures import Failure, first_line, one_line, what_did_not_fit
from ddpm_bench.planning.benchmark_cells import UnsupportedError
from ddpm_bench.records.cell_record import Status


def why(error: BaseException, measuring: Measuring, ceiling: int | None) -> Failure:
    """The kind of an exception and its reason, in one line."""
    now = time.time()
    if isinstance(error, UnsupportedError | UserError):
        kind: Status = "unsupported" if isinstance(error, UnsupportedError) else "crashed"
        return Failure(kind, one_line(str(error)), now)
    if is_out_of_memory(error):
        remedy = how_to_give_more(measuring, ceiling)
        return Failure("out of memory", f"{what_did_not_fit(error)}; {remedy}", now)
    reason = f"{one_line(first_line(error))} (traceback in the cell's log)"
    return Failure("crashed", reason, now)
