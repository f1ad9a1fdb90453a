"""The training network compiles for CUDA in one graph, forward and backward."""

import pytest
import torch
from small_trainer import UNET, small_stage

from ddpm_bench.models.denoiser import build_model


@pytest.mark.long
@pytest.mark.parametrize("model", [UNET], ids=["unet"])
def test_inductor_writes_kernels_for_both_passes(tmp_path, monkeypatch, model):
    triton_code = pytest.importorskip("triton_code")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    network = build_model(small_stage(model).model, 1)
    graphs = triton_code.traced(network, torch.randn(4, 1, 8, 8), torch.randint(0, 10, (4,)))
    assert set(graphs) == {"forward", "backward"}
    for name, (graph, inputs) in graphs.items():
        code = triton_code.code_for_cuda(graph, inputs, name == "backward")
        assert code.count("@triton.jit") > 10 and "cpp_fused" not in code
