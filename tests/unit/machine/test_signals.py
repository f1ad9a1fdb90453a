"""Signals to stop: caught in their order, forwarded, and left to the handlers of before."""

import os
import signal

from ddpm_bench.errors import STOP_SIGNALS
from ddpm_bench.machine.signals import caught_stop_signals, on_stop_signals


def test_signals_are_caught_in_their_order_and_forwarded():
    forwarded = []
    with caught_stop_signals(forwarded.append) as caught:
        for number in reversed(STOP_SIGNALS):
            os.kill(os.getpid(), number)
    assert caught == forwarded == list(reversed(STOP_SIGNALS))


def test_the_handlers_of_before_stand_again_afterwards():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with caught_stop_signals():
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != before
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_a_handler_that_is_installed_stays_and_the_one_of_before_is_returned():
    came = []
    before = on_stop_signals(came.append)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert came == [signal.SIGUSR1]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert set(before) == set(STOP_SIGNALS)
