"""Times of steps and peak memory, on a GPU or a CPU."""

import itertools
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): sets the peak of resident memory to its present value


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all work that was queued on it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds_of_steps(
    step: Callable[[], Any], count: int, device: torch.device
) -> tuple[list[float], float]:
    """Call `step` `count` times; return the milliseconds of each call and the seconds of all.

    The device is idle before and after. Between steps nothing waits for a GPU: events on its stream
    mark the boundaries of steps.
    """
    synchronise(device)
    begun = time.perf_counter()
    marks = [_mark(device)]
    for _ in range(count):
        step()
        marks.append(_mark(device))
    synchronise(device)
    seconds = time.perf_counter() - begun
    return [_between(*pair) for pair in itertools.pairwise(marks)], seconds


def _mark(device: torch.device) -> torch.cuda.Event | float:
    """Return a mark of the present on the device's own clock."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def _between(start: torch.cuda.Event | float, end: torch.cuda.Event | float) -> float:
    """Return the milliseconds between two marks that have passed."""
    if isinstance(start, float):
        return (end - start) * 1e3
    return start.elapsed_time(end)


def reset_peak_memory(device: torch.device) -> None:
    """Set the peak of used memory to its present value.

    On kernels that cannot reset the peak of a process, it stays that of its whole life.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        CLEAR_REFS.write_text(RESET_PEAK)


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak of used memory since the last reset, in bytes.

    On a GPU, of the memory that torch has allocated for tensors; on a CPU, of the resident memory
    of this process.
    """

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.exists():
        peaks = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        if peaks:
            return int(peaks[0].split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
