"""Relay of the output of a process to this one's stderr, whose end is kept."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from ddpm_bench.records.log_tails import TAIL_BYTES

SECONDS_AFTER_THE_END = 1.0  # what a process has started may hold its output open


def whole_lines(output: bytes) -> int:
    """Return the length of the complete lines of some output, which end in LF or CR."""
    return max(output.rfind(b"\n"), output.rfind(b"\r")) + 1


class OutputRelay:
    """A thread that writes what comes through a pipe to stderr, and keeps the last TAIL_BYTES.

    ready: the number of bytes of the output in hand that may be written now; `whole_lines` where
    several processes write to one stderr, whose lines would run into each other.
    """

    def __init__(self, pipe: BinaryIO, ready: Callable[[bytes], int] = len) -> None:
        self._descriptor, self._ready = pipe.fileno(), ready
        self._tail = b""
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._thread.start()

    def _relay(self) -> None:
        waiting = b""
        while output := os.read(self._descriptor, 65536):
            self._tail = (self._tail + output)[-TAIL_BYTES:]
            waiting += output
            count = self._ready(waiting)
            _write(waiting[:count])
            waiting = waiting[count:]
        _write(waiting)

    def end(self) -> None:
        """Wait until the last output is relayed, but not long."""
        self._thread.join(SECONDS_AFTER_THE_END)

    @property
    def tail(self) -> str:
        """Return the last output so far, as text."""
        return self._tail.decode("utf-8", "replace")


def _write(output: bytes) -> None:
    with suppress(OSError, ValueError):  # nobody reads it any more
        sys.stderr.buffer.write(output)
        sys.stderr.buffer.flush()
