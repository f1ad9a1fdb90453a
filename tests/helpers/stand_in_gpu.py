"""A stand-in for a GPU: tensors "on cuda" whose values are computed on the CPU.

Tensors that the code under test puts on "cuda" are marked, and so is what is computed from them.
As on a GPU, an operation on a marked and an unmarked tensor raises, unless the latter has no
dimensions, and marked ones do not become arrays. Autocast on "cuda" is the CPU's, and its lists of
operators are; kernels, streams and memory are not seen.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
PLAIN_GENERATOR = torch.Generator
MARK = "_on_stand_in"
# Functions that may take tensors of several devices: they copy, or index with the CPU's.
OVER_DEVICES = {"copy_", "__setitem__", "__getitem__", "index_put_", "tensor", "to", "type_as"}
OVER_DEVICES |= {"_has_compatible_shallow_copy_type"}
TO_CPU = {"cpu", "tolist", "item", "__bool__", "__float__", "__int__", "__index__", "__repr__"}


class GpuGenerator(PLAIN_GENERATOR):
    """A generator "on cuda", which draws on the CPU."""

    device = CUDA

    def __new__(cls, device: Any = CPU) -> torch.Generator:
        return PLAIN_GENERATOR.__new__(cls if is_gpu(device) else PLAIN_GENERATOR, "cpu")


def is_gpu(device: Any) -> bool:
    """Return True for any name of the stand-in."""
    return device is not None and torch.device(device).type == "cuda"


def is_marked(value: Any) -> bool:
    """Return True for a tensor that lies on the stand-in."""
    return isinstance(value, torch.Tensor) and getattr(value, MARK, False)


def _marked(value: Any) -> Any:
    for leaf in tree_flatten(value)[0]:
        if isinstance(leaf, torch.Tensor):
            setattr(leaf, MARK, True)
    return value


class StandInGpu(TorchFunctionMode):
    """The mode in which "cuda" is the stand-in. `copies` counts those from it to the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[str] = []

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(function, "__name__", "")
        kwargs.pop("pin_memory", None)  # needs a driver
        if function is torch.device or name == "_parse_to":
            return function(*args, **kwargs)
        if name == "__get__":
            return self._attribute(function, args)
        if name == "__set__":
            setattr(args[0], MARK, is_marked(args[1]) or is_marked(args[0]))
            return function(*args)
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        devices = [x for x in (*args, kwargs.get("device")) if isinstance(x, torch.device | str)]
        asked = next((x for x in devices if not isinstance(x, str) or x in ("cpu", "cuda")), None)
        there = any(map(is_marked, tensors))
        if name == "numpy" and there:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        self._check(name, tensors, kwargs.get("generator"), asked)
        if name == "pin_memory":
            return args[0].clone()
        if asked is not None and is_gpu(asked):
            args = tuple(CPU if x is asked else x for x in args)
            kwargs.update({"device": CPU} if "device" in kwargs else {})
        result = function(*args, **kwargs)
        if name in TO_CPU or (asked is not None and not is_gpu(asked)):
            self.copies += [name] * there
            return result.clone() if there and result is args[0] else result
        if name == "to" and asked is None and not isinstance(args[-1], torch.Tensor):
            return _marked(result) if is_marked(args[0]) else result
        if name == "to" and asked is None:
            there = is_marked(args[-1])
        if name in ("copy_", "__setitem__", "__getitem__", "index_put_"):
            there = is_marked(args[0])
        if asked is not None or there:
            source = args[0] if args else None
            if asked is not None and result is source and not is_marked(source):
                result = result.clone()
            return _marked(result)
        return result

    def _attribute(self, function: Callable, args: tuple) -> Any:
        """Return an attribute of a tensor: its device, or one that lies where it does."""
        result, there = function(*args), is_marked(args[0])
        if isinstance(result, torch.device):
            return CUDA if there else result
        if getattr(function.__self__, "__name__", "") == "is_cuda":
            return there
        return _marked(result) if there and isinstance(result, torch.Tensor) else result

    def _check(self, name: str, tensors: list, generator: Any, asked: Any) -> None:
        """Raise where a GPU would: on tensors or generators of two devices."""
        if name in OVER_DEVICES:
            return
        sides = {is_marked(x) for x in tensors if x.ndim > 0}
        if len(sides) > 1:
            raise RuntimeError(f"{name}: tensors on cuda:0 and on cpu")
        if isinstance(generator, PLAIN_GENERATOR) and is_gpu(generator.device) != is_gpu(asked):
            raise RuntimeError(f"{name}: the generator is on another device")


@contextlib.contextmanager
def stand_in_gpu() -> Iterator[StandInGpu]:
    """Compute what is on "cuda" on the CPU until the block ends."""
    autocast, enabled, dtype = torch.autocast, torch.is_autocast_enabled, torch.get_autocast_dtype
    grouped_by_device = torch._C._group_tensors_by_device_and_dtype

    def autocast_on_cpu(kind: str, *args: Any, **kwargs: Any) -> torch.autocast:
        return autocast("cpu" if kind == "cuda" else kind, *args, **kwargs)

    def grouped(*args: Any) -> dict:
        return {
            (CUDA if is_marked(lists[0][0]) else device, kind): (lists, indices)
            for (device, kind), (lists, indices) in grouped_by_device(*args).items()
        }

    with pytest.MonkeyPatch.context() as patch, StandInGpu() as mode:
        patch.setattr(torch, "Generator", GpuGenerator)
        patch.setattr(torch._C, "_group_tensors_by_device_and_dtype", grouped)
        patch.setattr(torch, "autocast", autocast_on_cpu)
        patch.setattr(torch, "is_autocast_enabled", lambda kind: enabled("cpu"))
        patch.setattr(torch, "get_autocast_dtype", lambda kind: dtype("cpu"))
        yield mode


class OnStandIn(Accelerator):
    """accelerate's object of a process that has the stand-in."""

    device = CUDA

    def __init__(self) -> None:
        super().__init__(cpu=True, mixed_precision="no")
