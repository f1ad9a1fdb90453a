"""Threads that wait without spinning while other programs want the same cores.

Between two parallel regions, and at the end of each, OpenMP's threads spin for milliseconds before
they sleep. On idle cores that is fastest. On cores that another program wants too it takes most of
its time, and of ours: two trainings of two threads each on two cores then run at a sixth of their
speed, not at half. No fixed length of spinning is good for both.

GNU's libgomp, which torch's packages for Linux bring, spins for a three-thousandth of that time
while it manages more threads than the process has cores (gomp_throttled_spin_count_var in its
config/linux/wait.h). So a thread of ours measures how long the process's threads wait for a core,
and lets libgomp manage enough sleeping threads for as long as they do. What is computed, by how
many threads and in which order, stays the same: so do the results.
"""

import ctypes
import os
import threading
import time
from pathlib import Path

POLL_SECONDS = 0.5
# Share of its time that each thread waits for a core, and polls in a row that decide.
CONTENDED, CONTENDED_POLLS = 0.25, 2
QUIET, QUIET_POLLS = 0.1, 4
MOST_THREADS = 64  # that are added: limits of users and containers on threads stay out of reach
TASKS = Path("/proc/self/task")


def spin_on_idle_cores_only(threads: int) -> None:
    """Watch from now on, in a thread, and keep OpenMP's threads from spinning on contended cores.

    threads: those that torch, which is imported, computes with. Does nothing for one, where
    OMP_WAIT_POLICY or GOMP_SPINCOUNT is set, and without Linux's statistics or GNU's libgomp.
    """
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
    running = any(thread.name == Watch.name_of_thread for thread in threading.enumerate())
    library = libgomp()
    if threads > 1 and not chosen and not running and library and waited_seconds() is not None:
        Watch(library, threads).start()


def libgomp() -> Path | None:
    """Return the path of the libgomp that torch computes with, or None.

    A process can have loaded another one too: packages bring their own.
    """
    try:
        mapped = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    paths = {Path(line.split(maxsplit=5)[-1]) for line in mapped if "libgomp" in line}
    found = sorted(path for path in paths if path.name.startswith("libgomp"))
    with_torch = [path for path in found if "torch" in path.parts]
    return next(iter(with_torch or found), None)


def waited_seconds() -> float | None:
    """Return the seconds that this process's living threads have waited for a core.

    None where the kernel does not count them.
    """
    nanoseconds = 0
    try:
        for task in TASKS.iterdir():
            try:
                nanoseconds += int((task / "schedstat").read_text().split()[1])
            except (FileNotFoundError, ProcessLookupError):
                if task.exists():
                    return None
    except (OSError, IndexError, ValueError):
        return None
    return nanoseconds / 1e9


class Watch(threading.Thread):
    """The thread that measures, and has libgomp manage more threads where cores are contended."""

    name_of_thread = "shared cores"

    def __init__(self, library: Path, threads: int) -> None:
        super().__init__(name=self.name_of_thread, daemon=True)
        self._libgomp = ctypes.CDLL(str(library))
        self._threads = threads
        self._release: threading.Event | None = None
        self._contended_polls = self._quiet_polls = 0

    def run(self) -> None:
        before, since = waited_seconds() or 0.0, time.monotonic()
        while True:
            time.sleep(POLL_SECONDS)
            waited, now = waited_seconds() or 0.0, time.monotonic()
            self.react((waited - before) / (now - since))
            before, since = waited, now

    def react(self, rate: float) -> None:
        """Let threads spin or not, by the seconds that they waited for a core in each second."""
        share = rate / self._threads
        self._contended_polls = self._contended_polls + 1 if share > CONTENDED else 0
        self._quiet_polls = self._quiet_polls + 1 if share < QUIET else 0
        if self._contended_polls >= CONTENDED_POLLS and self._release is None:
            self._throttle()
        elif self._quiet_polls >= QUIET_POLLS and self._release is not None:
            self._release.set()
            self._release = None

    def _throttle(self) -> None:
        """Let libgomp manage one thread more than there are cores, until `_release` is set."""
        extra = max(2, len(os.sched_getaffinity(0)) - self._threads + 2)
        if extra > MOST_THREADS or not can_start(extra):
            return
        self._release = threading.Event()
        arguments = self._libgomp, extra, self._release
        threading.Thread(target=_manage_threads, args=arguments, daemon=True).start()


def can_start(count: int) -> bool:
    """Return True if this process may start so many threads: else libgomp would end it."""
    tried, end = [], threading.Event()
    try:
        for _ in range(count):
            tried.append(threading.Thread(target=end.wait, daemon=True))
            tried[-1].start()
    except RuntimeError:
        tried.pop()
        return False
    finally:
        end.set()
        for thread in tried:
            thread.join()
    return True


def _manage_threads(library: ctypes.CDLL, count: int, until: threading.Event) -> None:
    """Keep `count` threads of libgomp's, this one among them, which sleep until the event is set.

    They are those of a parallel region that does nothing: it calls getpid(2). When this thread
    ends, libgomp ends them.
    """
    nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)
    library.GOMP_parallel(nothing, None, ctypes.c_uint(count), ctypes.c_uint(0))
    until.wait()
