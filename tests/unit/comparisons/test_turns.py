"""Turns of the sides of comparisons, and the kernels that the profiler sees."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch
from places import REPOSITORY
from torch.autograd import DeviceType


@pytest.fixture
def turns(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "comparisons")
    import turns

    return turns


@pytest.mark.parametrize(
    ("seconds", "seconds_per_step", "warm_up", "steps"),
    [(1.5, 0.015, 25, 75), (1.5, 0.5, 1, 3), (1.5, 4.0, 1, 3)],
)
def test_turns_of_fast_and_slow_sides_take_equally_long(
    turns, seconds, seconds_per_step, warm_up, steps
):
    assert turns.turn_within(seconds, seconds_per_step) == turns.Turn(warm_up, steps)


class Meeting:
    """A side that has only started when another has begun to."""

    def __init__(self, both: threading.Barrier) -> None:
        self._both, self.ended = both, False

    def __enter__(self) -> "Meeting":
        self._both.wait(timeout=20)
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended = True


def test_sides_that_start_together_wait_for_none_before_them(turns):
    both = threading.Barrier(2)
    sides = [Meeting(both), Meeting(both)]
    with ExitStack() as held:
        assert turns.started(sides, held, together=True) == sides
    assert all(side.ended for side in sides)


def test_ratios_are_taken_to_each_peer(turns):
    def running(name: str) -> SimpleNamespace:
        side = turns.Side(name, "", "bf16")
        return SimpleNamespace(side=side, last={}, seconds_to_first_step=1.0)

    sides = [running(name) for name in ("ours", "peer", "peer_like_for_like", "peer_compiled")]
    rounds = [
        {"ours": 12.0, "peer": 3.0, "peer_like_for_like": 4.0, "peer_compiled": 6.0},
        {"ours": 12.0, "peer": 4.0, "peer_like_for_like": 6.0, "peer_compiled": 8.0},
    ]
    found = turns.compared(sides, rounds)
    assert (found["ratio_min"], found["ratio_max"]) == (3.0, 4.0)
    assert found["ratio_like_for_like_median"] == 2.5
    assert found["ratio_compiled_median"] == 1.75


def event(device: DeviceType, microseconds: float, **more: bool) -> SimpleNamespace:
    return SimpleNamespace(device_type=device, self_device_time_total=microseconds, **more)


def test_time_on_the_device_is_counted_once(turns):
    events = [
        event(DeviceType.CUDA, 300.0, is_user_annotation=False),
        event(DeviceType.CUDA, 200.0),
        event(DeviceType.CPU, 300.0),  # the operator that started a kernel
        event(DeviceType.CUDA, 500.0, is_user_annotation=True),  # a range around both
    ]
    assert turns.device_seconds(events) == pytest.approx(500e-6)


def test_events_of_this_torch_have_the_attributes_that_are_read(turns):
    with torch.profiler.profile() as watched:
        torch.ones(3) + 1
    events: Iterator = watched.key_averages()
    assert len(events) > 0
    assert turns.device_seconds(events) == 0, "all ran on the CPU"


def test_on_a_cpu_no_kernels_are_watched(turns):
    with turns.watching_kernels() as found:
        torch.ones(3) + 1
    assert found == {}
