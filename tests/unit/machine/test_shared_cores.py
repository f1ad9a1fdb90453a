"""Threads that wait spin on idle cores only."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from places import SCRIPTS

from ddpm_bench.machine import shared_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="libgomp and statistics of Linux")

# Of each stretch: processor milliseconds of all threads for a small operation and a pause, and the
# number of threads before it.
PAUSES = """
import json, os, time
import torch
from ddpm_bench.machine import shared_cores
torch.set_num_threads(2)
numbers = torch.ones(1 << 17)
watch = shared_cores.Watch(shared_cores.libgomp(), 2)

def stretch():
    began, threads = time.process_time(), len(os.listdir("/proc/self/task"))
    for _ in range(20):
        numbers.add_(1)
        time.sleep(0.01)
    return (time.process_time() - began) / 20 * 1e3, threads

stretch()
seen = [stretch()]
for _ in range(shared_cores.CONTENDED_POLLS):
    watch.react(1.0)
time.sleep(0.2)
seen.append(stretch())
for _ in range(shared_cores.QUIET_POLLS):
    watch.react(0.0)
time.sleep(0.2)
seen.append(stretch())
print(json.dumps(seen))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: nothing spins there")
def test_threads_stop_spinning_while_cores_are_contended_and_spin_again_afterwards():
    unset = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", PAUSES],
        env={**environment, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    (idle, few), (contended, more), (again, few_again) = json.loads(done.stdout)
    assert contended < idle / 3 and contended < again / 3
    assert few == few_again < more


class Quiet(shared_cores.Watch):
    """A watch that counts, and changes nothing."""

    def __init__(self) -> None:
        super().__init__(Path("libc.so.6"), 2)
        self.begun = 0

    def _throttle(self) -> None:
        self.begun += 1
        self._release = threading.Event()


def test_a_short_pause_of_the_other_program_changes_nothing():
    watch = Quiet()
    contended, quiet = [0.9] * shared_cores.CONTENDED_POLLS, [0.0] * shared_cores.QUIET_POLLS
    for rate in (*contended[1:], 0.3, *contended[1:]):
        watch.react(rate)
    assert watch.begun == 0
    for rate in (*contended, *quiet[1:], 0.3, *contended):
        watch.react(rate)
    assert watch.begun == 1
    for rate in (*quiet, *contended):
        watch.react(rate)
    assert watch.begun == 2


def test_threads_that_may_not_be_started_are_not_asked_for(monkeypatch):
    assert shared_cores.can_start(3)
    started = []

    def start(thread) -> None:
        started.append(thread)
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        original(thread)

    original = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    assert not shared_cores.can_start(5)
    assert len(started) == 3
    assert not any(thread.is_alive() for thread in started)


@pytest.mark.parametrize("variable", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_what_the_user_has_chosen_stands(monkeypatch, variable):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    started = []
    monkeypatch.setattr(shared_cores, "libgomp", lambda: Path("libc.so.6"))
    monkeypatch.setattr(shared_cores, "waited_seconds", lambda: 0.0)
    monkeypatch.setattr(shared_cores.Watch, "start", lambda self: started.append(self))
    shared_cores.spin_on_idle_cores_only(2)
    assert len(started) == 1
    monkeypatch.setenv(variable, "1")
    shared_cores.spin_on_idle_cores_only(2)
    assert len(started) == 1


def test_the_seconds_that_threads_wait_are_counted():
    if shared_cores.waited_seconds() is None:
        pytest.skip("this kernel does not count them")
    cores = sorted(os.sched_getaffinity(0))
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(other.pid, cores[:1])
        os.sched_setaffinity(0, cores[:1])
        before, used = shared_cores.waited_seconds(), os.times().user
        while os.times().user < used + 0.1:
            pass
        assert shared_cores.waited_seconds() - before > 0.02
    finally:
        os.sched_setaffinity(0, cores)
        other.kill()
        other.wait()
