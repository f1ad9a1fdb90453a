"""Code that torch.compile generates for a GPU, without one: Triton kernels that are not run.

The graphs are traced on the CPU, in one piece or not at all, and then given to inductor as if their
tensors were on an H100. So the order of operators is the CPU's: its attention, its autocast.
"""

from contextlib import ExitStack
from types import SimpleNamespace
from unittest.mock import patch

import torch
import triton.runtime
from torch import fx
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.debug import DebugContext
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.graph import GraphLowering
from torch._inductor.runtime.hints import DeviceProperties
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode
from triton.backends.compiler import GPUTarget

CUDA = torch.device("cuda", 0)
H100 = {
    "major": 9, "minor": 0, "multi_processor_count": 132, "warp_size": 32,
    "regs_per_multiprocessor": 65536, "max_threads_per_multi_processor": 2048,
}  # fmt: skip
SEEN = DeviceProperties(
    type="cuda", index=0, cc=90, **{key: H100[key] for key in H100 if key != "minor"}
)
DRIVER = SimpleNamespace(
    get_current_target=lambda: GPUTarget("cuda", 90, 32),
    get_current_device=lambda: 0,
    get_device_interface=lambda: torch.cuda,
)


def traced(model: torch.nn.Module, *inputs: torch.Tensor) -> dict[str, tuple]:
    """Return the graph and inputs of `forward` and `backward`; raises where a graph breaks."""
    graphs = {}

    def keep(name: str):
        def compiler(graph: fx.GraphModule, inputs: list) -> object:
            graphs[name] = graph, inputs
            return torch._dynamo.disable(graph.forward)

        return compiler

    backend = aot_autograd(
        fw_compiler=keep("forward"),
        bw_compiler=keep("backward"),
        decompositions=select_decomp_table(),
        partition_fn=min_cut_rematerialization_partition,
    )
    torch.compile(model, backend=backend, fullgraph=True)(*inputs).sum().backward()
    return graphs


class _OnCuda(fx.Interpreter):
    """A graph run on fake tensors, which keeps each result for inductor."""

    def run_node(self, node: fx.Node) -> object:
        node.meta["val"] = super().run_node(node)
        return node.meta["val"]


def code_for_cuda(graph: fx.GraphModule, inputs: list, backward: bool) -> str:
    """Return the module that inductor writes for a graph on CUDA."""
    for node in graph.graph.nodes:
        if "device" in node.kwargs:
            node.kwargs = {**node.kwargs, "device": CUDA}
    graph.recompile()
    mode = FakeTensorMode()
    with mode:
        inputs = [
            torch.empty_strided(item.shape, item.stride(), dtype=item.dtype, device=CUDA)
            if isinstance(item, torch.Tensor)
            else item
            for item in inputs
        ]
        _OnCuda(graph).run(*inputs)
    properties = SimpleNamespace(name="H100", gcnArchName="", **H100)
    with ExitStack() as stack:
        for name, value in {
            "torch.cuda.is_available": True,
            "torch.cuda.get_device_capability": (9, 0),
            "torch.cuda.get_device_properties": properties,
            "torch.cuda.current_device": 0,
            "torch.cuda.device_count": 1,
            "torch._inductor.scheduler.has_triton": True,
            "torch.utils._triton.has_triton": True,
        }.items():
            stack.enter_context(patch(name, lambda *_, value=value: value))
        stack.enter_context(patch.object(DeviceProperties, "create", lambda _: SEEN))
        # Not by its `reset_active`, which looks for a GPU's driver.
        stack.enter_context(patch.object(triton.runtime.driver, "_active", DRIVER))
        stack.enter_context(V.set_fake_mode(mode))
        stack.enter_context(V.set_debug_handler(DebugContext()))
        lowered = GraphLowering(graph, is_backward=backward)
        with V.set_graph_handler(lowered):
            lowered.run(*inputs)
            return lowered.codegen()[0].value
