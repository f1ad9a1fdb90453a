"""Handling of the signals on which programs save and stop (errors.STOP_SIGNALS)."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ddpm_bench.errors import STOP_SIGNALS


def on_stop_signals(handle: Callable[[int], object]) -> dict[signal.Signals, Any]:
    """Call `handle` with the number of each signal to stop from now on.

    Returns the handlers that stood there, as `signal.signal` takes them.
    """

    def call(number: int, _: object) -> None:
        handle(number)

    return {number: signal.signal(number, call) for number in STOP_SIGNALS}


@contextmanager
def caught_stop_signals(handle: Callable[[int], object] | None = None) -> Iterator[list[int]]:
    """Yield the numbers of the signals to stop that have come in the block, in their order.

    handle: called with each of them, to forward it. The handlers of before stand again afterwards.
    """
    caught: list[int] = []

    def note(number: int) -> None:
        caught.append(number)
        if handle is not None:
            handle(number)

    before = on_stop_signals(note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
