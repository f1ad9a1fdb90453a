"""Why a cell has no measurement, in words with a remedy."""

import time

from .cell_memory import how_to_give_more
from .cell_record import Status
from .cells import UnsupportedError
from .config.benchmark import Measuring
from .memory_ceiling import is_out_of_memory
from .process_words import Failure, first_line, one_line, what_did_not_fit
from .program import UserError


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
