"""A training "on cuda": nothing meets a tensor of the other device, and results are the CPU's."""

import re

import pytest
import torch
from small_trainer import UNET, UNET2D, difference, random_images, run_to_end, small_stage
from stand_in_gpu import CUDA, OnStandIn, is_marked, stand_in_gpu
from torch.utils._python_dispatch import TorchDispatchMode

from ddpm_bench.config.training import TrainRun, ValidateStage
from ddpm_bench.training import loop
from ddpm_bench.training.trainer import Trainer
from ddpm_bench.training.validation import Validator

VQVAE = {
    "name": "vqvae", "channels": 8, "downsampling": 2, "layers_per_block": 1,
    "norm_num_groups": 4, "codebook_size": 16, "restart_every": 2,
}  # fmt: skip
KEYS = {"checkpoint_every": 2, "batch_size": 4}
STAGES = {
    "unet": small_stage(horizontal_flips=True, offset_noise=0.1, ema_sigma_rels=[0.1], **KEYS),
    "bf16": small_stage(precision="bf16", **KEYS),
    "fp16": small_stage(precision="fp16", **KEYS),
    "self-conditioned": small_stage({**UNET, "self_condition": True}, **KEYS),
    "unet2d": small_stage({**UNET2D, "self_condition": True}, max_grad_norm=None, **KEYS),
    "vqvae": small_stage(VQVAE, **KEYS),
}


def trained(folder, stage, monkeypatch, last=4, **run):
    """The files of a training on the stand-in."""
    monkeypatch.setattr(loop, "build_accelerator", lambda *_: OnStandIn())
    with stand_in_gpu() as gpu:
        files = run_to_end(folder, stage, last, compile=False, **run)
    return files, gpu


def last_state(files, step: int = 4) -> dict[str, torch.Tensor]:
    return files.states.read(step).tensors


@pytest.mark.parametrize("name", STAGES)
def test_a_training_ends_as_on_the_cpu(tmp_path, monkeypatch, name):
    stage = STAGES[name]
    here = last_state(run_to_end(tmp_path / "cpu", stage, 4))
    there = last_state(trained(tmp_path / "gpu", stage, monkeypatch)[0])
    wide = 3e-2 if stage.train.precision != "fp32" else 1e-4
    assert difference(there, here) < wide


def test_a_training_goes_on_from_its_state(tmp_path, monkeypatch):
    stage = small_stage({**UNET, "dropout": 0.2}, precision="fp16", **KEYS)
    run = {"activation_checkpointing": True, "micro_batch_size": 2}
    whole, _ = trained(tmp_path / "whole", stage, monkeypatch, **run)
    trained(tmp_path / "cut", stage, monkeypatch, last=2, **run)
    cut, _ = trained(tmp_path / "cut", stage, monkeypatch, **run)
    assert difference(last_state(cut), last_state(whole)) == 0


@pytest.mark.parametrize("name", ["fp16", "self-conditioned"])
def test_no_step_waits_for_the_device(tmp_path, name):
    with stand_in_gpu() as gpu:
        run = TrainRun(cpus=1, compile=False)
        trainer = Trainer(STAGES[name], run, random_images(), OnStandIn(), tmp_path)
        trainer.begin()
        for _ in range(3):
            assert is_marked(trainer.train_one_step())
    assert gpu.copies == []


@pytest.mark.parametrize("name", ["unet", "self-conditioned", "vqvae"])
def test_validation_gives_the_losses_of_the_cpu(name):
    model = STAGES[name].model
    keys = {"version": 1, "model": model.model_dump(), "validation": {"images": 12}}
    losses = []
    for device in (torch.device("cpu"), CUDA):
        with stand_in_gpu():
            splits = random_images(20), random_images(30)
            validator = Validator(ValidateStage.model_validate(keys), *splits, device, 8)
            losses.append(torch.from_numpy(validator.losses(range(8))))
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)


# Operators that raise on CUDA under use_deterministic_algorithms (its documentation, torch 2.14).
# bincount is one with weights only, which no network here gives it.
WITHOUT_DETERMINISTIC_CODE = re.compile(
    r"(avg_pool3d|adaptive_avg_pool[23]d|adaptive_max_pool2d|fractional_max_pool[23]d"
    r"|upsample_(linear1d|bilinear2d|bicubic2d|trilinear3d)(_aa)?|reflection_pad[123]d"
    r"|_ctc_loss|grid_sampler_2d|grid_sampler_3d|_embedding_bag\w*)_backward"
    r"|max_unpool[23]d|nll_loss2?d_forward|put_?|histc|median|scatter_reduce_?"
)


class Operators(TorchDispatchMode):
    """The names of all operators that are called in the block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.names.add(operator.__name__.partition(".")[0])
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["self-conditioned", "unet2d", "vqvae"])
def test_a_step_calls_only_operators_with_deterministic_code(tmp_path, name):
    with stand_in_gpu():
        run = TrainRun(cpus=1, compile=False)
        trainer = Trainer(STAGES[name], run, random_images(), OnStandIn(), tmp_path)
        trainer.begin()
        with Operators() as called:
            for _ in range(2):
                trainer.train_one_step()
    assert "convolution_backward" in called.names
    assert not {item for item in called.names if WITHOUT_DETERMINISTIC_CODE.fullmatch(item)}
