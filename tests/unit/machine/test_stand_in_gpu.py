"""The stand-in for a GPU refuses what a GPU refuses."""

import pytest
import torch
from stand_in_gpu import CUDA, is_marked, stand_in_gpu


def test_tensors_and_generators_of_two_devices_do_not_meet():
    with stand_in_gpu():
        here, there = torch.ones(2), torch.ones(2, device="cuda")
        assert there.device == CUDA and there.is_cuda and not here.is_cuda
        with pytest.raises(RuntimeError, match="cuda:0 and on cpu"):
            here + there
        with pytest.raises(RuntimeError, match="cuda:0 and on cpu"):
            torch.nn.Linear(2, 2)(there)
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(2, generator=torch.Generator(), device=CUDA)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert is_marked(there + here[0]) and not is_marked(there.cpu())


def test_gradients_lie_where_their_weights_do():
    with stand_in_gpu() as gpu:
        layer = torch.nn.Linear(2, 1).to("cuda")
        layer(torch.ones(3, 2, device="cuda")).sum().backward()
        assert is_marked(layer.weight.grad) and gpu.copies == []
        assert layer.bias.item() == layer.bias.tolist()[0] and gpu.copies == ["item", "tolist"]
    assert not is_marked(torch.ones(1))
