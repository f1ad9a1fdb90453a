"""Users' own models for the throughput benchmark, built by a function in a Python file.

The model, batch and loss are checked before anything is measured, and each error message names what
to change.
"""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ddpm_bench.config.benchmark import OwnModel
from ddpm_bench.errors import UserError
from ddpm_bench.machine.memory_limit import is_out_of_memory
from ddpm_bench.models.randomness import derived_seed
from ddpm_bench.throughput.workloads.workload import Workload

MODULE = "ddpm_bench_own_model"  # a name that no user's file imports
RETURNS = "return (model, (inputs, targets), loss), as docs/benchmark.md shows"

Result = TypeVar("Result")


def own_workload(network: OwnModel, seed: int, samples: int) -> Workload:
    """Return the model, batch and loss that the user's function builds for this many samples.

    torch's generator is seeded before the file is executed and restored afterwards. Raises a
    UserError that names the file, and the line of an exception in it.
    """
    with _imports_beside(network), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        function = _function(network)
        returned = _call_user_code(network, lambda: function(samples))
        workload = _workload(network, returned, samples)
        _check_loss(network, workload)
    return workload


@contextmanager
def _imports_beside(network: OwnModel) -> Iterator[None]:
    """Let the user's file import files beside it; the project's modules and installed packages are
    found first."""
    folder = str(Path(network.path).resolve().parent)
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _function(network: OwnModel) -> Callable[[int], Any]:
    """Execute the user's file and return its function; raise UserError where there is none."""
    path = Path(network.path)
    if not path.is_file():
        raise UserError(
            f"{path}: there is no such file; a model's `path` counts from the folder in which "
            "snakemake is started"
        )
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file: its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module  # dataclasses look their module up by its name
    _call_user_code(network, lambda: spec.loader.exec_module(module))
    function = getattr(module, network.function, None)
    if not callable(function):
        raise UserError(
            f"{path} has no function {network.function}: write one, or name another with the key "
            "`function` of the model"
        )
    return function


def _call_user_code(network: OwnModel, work: Callable[[], Result]) -> Result:
    """Return the result of `work`; raise its exceptions as UserError with the line in the file.

    Out-of-memory errors are raised unchanged: they are an outcome of the benchmark.
    """
    try:
        return work()
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        where = _last_line(network, error)
        raise UserError(f"{where}: {type(error).__name__}: {error}") from error


def _last_line(network: OwnModel, error: BaseException) -> str:
    """Return "file:line" of the last line of the user's file that an exception passed through."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}"
    path = Path(network.path).resolve()
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path]
    return f"{network.path}:{lines[-1]}" if lines else network.path


def _workload(network: OwnModel, returned: Any, samples: int) -> Workload:
    """Check the types and shapes that the user's function returned; return them as a workload."""
    made = f"{network.path}: {network.function}({samples})"
    if not isinstance(returned, tuple) or len(returned) != 3:
        raise UserError(f"{made} returned {_described(returned)}: {RETURNS}")
    model, batch, loss = returned
    if not isinstance(model, nn.Module):
        raise UserError(f"{made}: the model is {_described(model)}, not a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(f"{made}: the model has no parameter that is trained")
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise UserError(f"{made}: the batch is {_described(batch)}, not (inputs, targets)")
    if not callable(loss):
        raise UserError(f"{made}: the loss is {_described(loss)}, not a function")
    inputs = (batch[0],) if isinstance(batch[0], torch.Tensor) else batch[0]
    if not isinstance(inputs, tuple | list) or not inputs:
        raise UserError(f"{made}: inputs are {_described(inputs)}, not a tensor or tensors")
    for name, tensor in (*(("inputs", item) for item in inputs), ("targets", batch[1])):
        _check_tensor(f"{made}: {name}", tensor, samples)
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if tensor.device.type != "cpu":
            raise UserError(
                f"{made}: {name} of the model is on {tensor.device}; leave all on the CPU, each "
                "process moves it to its own device"
            )
    return Workload(model, tuple(inputs), batch[1], loss, shards=_shards(model))


def _check_tensor(what: str, tensor: Any, samples: int) -> None:
    """Raise UserError unless this is a CPU tensor [samples, ...] without gradient."""
    if not isinstance(tensor, torch.Tensor):
        raise UserError(f"{what} hold {_described(tensor)}, not a tensor")
    if tensor.ndim == 0 or len(tensor) != samples:
        raise UserError(
            f"{what} have the shape {list(tensor.shape)}; the first dimension must be the "
            f"{samples} samples that the function is called with"
        )
    if tensor.device.type != "cpu" or tensor.requires_grad:
        raise UserError(f"{what} must be on the CPU and need no gradient")


def _check_loss(network: OwnModel, workload: Workload) -> None:
    """Raise UserError unless the loss of two samples at most is a float scalar with a gradient.

    Running statistics of the model are restored.
    """
    few = workload.share(0, 2)
    buffers = {name: value.clone() for name, value in workload.model.named_buffers()}
    value = _call_user_code(network, lambda: few.loss(workload.model(*few.inputs), few.targets))
    for name, buffer in workload.model.named_buffers():
        buffer.copy_(buffers[name])
    what = f"{network.path}: the loss of {network.function}"
    if not isinstance(value, torch.Tensor) or value.ndim != 0 or not value.is_floating_point():
        raise UserError(
            f"{what} gives {_described(value)}, not one number: a mean over the samples, such as "
            "torch.nn.functional.cross_entropy gives"
        )
    if not value.requires_grad:
        raise UserError(f"{what} has no gradient: it must be computed from the model's output")


def _described(value: Any) -> str:
    """Describe the type and size of a value for an error message."""
    if isinstance(value, torch.Tensor):
        return f"a tensor {list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"


def _shards(model: nn.Module) -> tuple[nn.Module, ...]:
    """Return the model's children that have parameters of their own; of lists of modules, their
    items.

    Children that share a parameter with another are left out, and stay with the whole model.
    """
    children = list(_called(model))
    owners: dict[int, int] = {}
    for child in children:
        for parameter in child.parameters():
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    own = {id(parameter) for parameter in model.parameters(recurse=False)}
    return tuple(
        child
        for child in children
        if (ids := [id(parameter) for parameter in child.parameters()])
        and all(owners[key] == 1 and key not in own for key in ids)
    )


def _called(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the children of a model, and the items of its lists and dicts of modules."""

    for child in model.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _called(child)
        else:
            yield child
