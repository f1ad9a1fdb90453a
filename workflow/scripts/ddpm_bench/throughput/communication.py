"""Communication between the processes of a training: bytes sent, and share of the time.

Bytes are counted as ring algorithms send them. Each of n processes sends, for S bytes: 2(n-1)/n S
in an all-reduce of S; (n-1)/n S in an all-gather to S and in a reduce-scatter of S (NVIDIA
nccl-tests, doc/PERFORMANCE.md, bus bandwidth); S in a message to one process. A broadcast of S, in
which all but the last pass S on, counts as the mean over the processes, (n-1)/n S.

torch's own CommDebugMode (2.14) counts calls and not bytes, and raises in models with in-place
activations.
"""

import math
import os
import time
from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

from ddpm_bench.throughput.step_times import synchronise

NAMESPACES = ("c10d", "_c10d_functional")
# For each operation: the argument whose bytes count, and how often one process sends (n-1)/n of
# them; None where they are sent once, to one process.
COUNTED = {
    "c10d::allreduce_": ("tensors", 2),
    "c10d::allreduce_coalesced_": ("tensors", 2),
    "c10d::_allgather_base_": ("output_tensor", 1),
    "c10d::allgather_": ("output_tensors", 1),
    "c10d::allgather_into_tensor_coalesced_": ("outputs", 1),
    "c10d::_reduce_scatter_base_": ("input_tensor", 1),
    "c10d::reduce_scatter_": ("input_tensors", 1),
    "c10d::reduce_scatter_tensor_coalesced_": ("inputs", 1),
    "c10d::broadcast_": ("tensors", 1),
    "c10d::send": ("tensors", None),
}
SENDS_NOTHING = {"c10d::recv_", "c10d::recv_any_source_", "c10d::barrier", "c10d::check_for_nan"}
KINDS_ON_CPU, KINDS_ON_CUDA = "gloo:", "nccl"  # prefixes of transfers in the profiler's events


class CountedBytes(TorchDispatchMode):
    """Counter of the bytes that this process sends inside the block: `sent`."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0.0

    def __enter__(self) -> Self:
        # A mode sees one thread only, and PowerSGD starts further all-reduces in threads of gloo.
        self._all_reduce = dist.all_reduce
        dist.all_reduce = self._in_any_thread
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        dist.all_reduce = self._all_reduce

    def _in_any_thread(self, *args: Any, **kwargs: Any) -> Any:
        """Run dist.all_reduce, counted in threads that the mode does not see, too."""
        if _get_current_dispatch_mode() is not None:
            return self._all_reduce(*args, **kwargs)
        with _OtherThread(self):
            return self._all_reduce(*args, **kwargs)

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if operation.namespace in NAMESPACES:
            self.count(operation, args)
        return operation(*args, **(kwargs or {}))

    def count(self, operation: Any, args: tuple) -> None:
        """Add the bytes that this process sends in one operation."""
        schema = operation._schema
        if schema.name in SENDS_NOTHING:
            return
        assert schema.name in COUNTED, f"{schema.name}: it is not known how many bytes this sends"
        argument, factor = COUNTED[schema.name]
        place = [item.name for item in schema.arguments].index(argument)
        size = sum(item.numel() * item.element_size() for item in _tensors(args[place]))
        processes = dist.get_world_size()
        self.sent += size if factor is None else factor * (processes - 1) / processes * size


class _OtherThread(TorchDispatchMode):
    """Mode of another thread that forwards its operations to the counter of the first."""

    def __init__(self, mode: CountedBytes) -> None:
        super().__init__()
        self._mode = mode

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return self._mode.__torch_dispatch__(operation, types, args, kwargs)


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    """Yield all tensors of nested lists."""
    if isinstance(value, torch.Tensor):
        yield value
    else:
        for item in value:
            yield from _tensors(item)


def communication_share(step: Callable[[], Any], steps: int, device: torch.device) -> float:
    """Return the share of the time of some steps in which this process has a transfer under way.

    From 0 to 1. Transfers that overlap with computation count too, and so does the wait for the
    other side. NaN where the profiler has recorded none of a GPU's transfers.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # no lines of the profiler in the cell's log
    on_cuda = device.type == "cuda"
    kinds = torch.profiler.ProfilerActivity
    # Threads of gloo begin transfers as well. On GPUs no CPU events are recorded: recording them
    # slows the launch of kernels.
    config = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    with torch.profiler.profile(
        activities=[kinds.CUDA if on_cuda else kinds.CPU], experimental_config=config
    ) as profile:
        dist.barrier()  # profilers start at different times, and the wait would count
        synchronise(device)
        begun = time.time_ns()  # the profiler's clock
        for _ in range(steps):
            step()
        synchronise(device)
        ended = time.time_ns()
    prefix = KINDS_ON_CUDA if on_cuda else KINDS_ON_CPU
    device_type = torch.autograd.DeviceType.CUDA if on_cuda else torch.autograd.DeviceType.CPU
    transfers = [
        (max(begun, event.start_ns()), min(ended, event.start_ns() + event.duration_ns()))
        for event in profile.profiler.kineto_results.events()
        if event.name().startswith(prefix) and event.device_type() == device_type
    ]
    if on_cuda and not transfers:
        return math.nan
    return union_length(transfers) / (ended - begun)


def union_length(intervals: Iterable[tuple[int, int]]) -> int:
    """Return the length that intervals (start, end), of times from 0 on, cover together."""

    covered, reached = 0, 0
    for start, end in sorted(intervals):
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return covered
