"""torch.compile by default: on GPUs that it can compile for."""

import importlib.util

import pytest
import torch

from ddpm_bench.config.training import TrainRun
from ddpm_bench.training.accelerator import compiling_is_asked_for

CUDA = torch.device("cuda")


def asked_for(monkeypatch, capability: tuple[int, int] = (8, 0), triton: bool = True, **run):
    found = importlib.util.find_spec
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: name if name == "triton" and triton else None
    )
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr("pathlib.Path.exists", lambda path: True)
    try:
        return compiling_is_asked_for(TrainRun(**run), CUDA)
    finally:
        monkeypatch.setattr(importlib.util, "find_spec", found)


@pytest.mark.parametrize(("capability", "compiles"), [((6, 1), False), ((7, 0), True)])
def test_old_gpus_train_without_it(monkeypatch, capsys, capability, compiles):
    assert asked_for(monkeypatch, capability) is compiles
    assert ("compute capability 6.1" in capsys.readouterr().err) is not compiles


def test_without_triton_nothing_is_compiled(monkeypatch, capsys):
    assert not asked_for(monkeypatch, triton=False)
    assert "Triton" in capsys.readouterr().err


def test_what_the_user_asks_for_is_done(monkeypatch):
    assert asked_for(monkeypatch, (6, 1), compile=True)
    assert not asked_for(monkeypatch, (8, 0), compile=False)
