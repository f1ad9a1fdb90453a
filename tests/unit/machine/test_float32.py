"""GPUs compute in the precision that the docs name: full float32, or TF32 where a key allows it."""

import ast

import pytest
import torch
from places import REPOSITORY, SCRIPTS

from ddpm_bench.config.sampling import SampleRun, SampleStage
from ddpm_bench.config.training import Train, TrainRun
from ddpm_bench.machine import compute_device
from ddpm_bench.sampling import sampler
from ddpm_bench.throughput import measurement
from ddpm_bench.training import accelerator

FULL, TF32 = ("highest", False), ("high", True)
TORCHS_DEFAULT = ("highest", True)
# Each place that prepares a GPU, and how: a program that is added finds itself here.
CHOICES = {
    "comparisons/sample_demo.py": ["round_to_tf32(False)"],
    "comparisons/sample_sides.py": ["round_to_tf32(side.precision == 'tf32')"],
    "comparisons/throughput.py": ["round_to_tf32(True)"],
    "encode.py": ["compute_device(args.how.cpus)"],
    "reconstruct.py": ["compute_device(args.how.cpus)"],
    "ddpm_bench/gpu_check/machine.py": ["round_to_tf32(False)"],
    "ddpm_bench/gpu_check/precisions.py": ["round_to_tf32(False)"],
    "ddpm_bench/gpu_check/scores.py": ["compute_device(RUN.cpus)"],
    "ddpm_bench/machine/compute_device.py": ["check_compiled_code()", "round_to_tf32(tf32)"],
    "ddpm_bench/sampling/sampler.py": [
        "compute_device(run.cpus, tf32=stage.drawing.precision == 'tf32')"
    ],
    "ddpm_bench/scoring/features/references.py": ["compute_device(run.cpus)"],
    "ddpm_bench/scoring/score_samples.py": ["compute_device(run.cpus)"],
    "ddpm_bench/throughput/measurement.py": ["check_compiled_code()", "round_to_tf32(True)"],
    "ddpm_bench/training/accelerator.py": [
        "check_compiled_code()",
        "round_to_tf32(not keys.deterministic)",
    ],
    "ddpm_bench/training/validation_job.py": ["compute_device(run.cpus)"],
}
# These ask for a GPU, and compute nothing of a result on it.
ASK_ONLY = {
    "ddpm_bench/gpu_check/group_processes.py",  # trains: the accelerator chooses
    "ddpm_bench/gpu_check/groups.py",
    "ddpm_bench/gpu_check/speed.py",
    "ddpm_bench/machine/launch.py",
    "ddpm_bench/machine/stage_memory.py",
    "ddpm_bench/throughput/cell_job.py",
}
NAMES = {"compute_device", "check_compiled_code", "round_to_tf32"}
STAGE = {"version": 1, "image_size": 8, "channels": 1, "model": {"name": "unet", "dim": 8}}


def flags() -> tuple[str, bool]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def set_flags(products: str, convolutions: bool) -> None:
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions


@pytest.fixture(params=[TORCHS_DEFAULT, TF32], ids=["torch's default", "a container's default"])
def gpu(request, monkeypatch):
    """A process that has set nothing yet, and sees a GPU."""
    before = flags()
    set_flags(*request.param)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    yield
    set_flags(*before)


def test_a_device_computes_in_full_float32(gpu):
    assert compute_device.compute_device(1).type == "cuda"
    assert flags() == FULL


@pytest.mark.parametrize(("precision", "set_up"), [("fp32", FULL), ("bf16", FULL), ("tf32", TF32)])
def test_a_set_of_samples_is_drawn_in_the_float32_of_its_key(gpu, monkeypatch, precision, set_up):
    monkeypatch.setattr(sampler, "load_checkpoint", lambda *_: {})
    monkeypatch.setattr(sampler, "Sampler", lambda *_: None)
    stage = SampleStage.model_validate({**STAGE, "drawing": {"precision": precision}})
    sampler.open_sampler(stage, SampleRun(), REPOSITORY, 1)
    assert flags() == set_up


@pytest.mark.parametrize(("deterministic", "set_up"), [(False, TF32), (True, FULL)])
def test_a_training_rounds_unless_it_is_deterministic(
    gpu, monkeypatch, tmp_path, deterministic, set_up
):
    class Accelerator:
        num_processes = 1

        def __init__(self, **_):
            pass

    monkeypatch.setattr(accelerator, "Accelerator", Accelerator)
    monkeypatch.setattr(accelerator, "join_process_group", lambda *_: None)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_: None)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    keys = Train(steps=1, checkpoint_every=1, batch_size=1, deterministic=deterministic)
    accelerator.build_accelerator(keys, TrainRun(), tmp_path)
    assert flags() == set_up


def test_a_cell_of_the_benchmark_computes_as_a_training_does(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "set_device", lambda *_: None)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    measuring = type("Measuring", (), {"cpus": 1, "memory_mb_per_process": None})
    threads = torch.get_num_threads()
    measurement._prepared_device(measuring)
    torch.set_num_threads(threads)
    assert flags() == TF32


def test_nothing_is_set_on_cpus(monkeypatch):
    monkeypatch.setattr(compute_device, "gpu_is_usable", lambda: False)
    before = flags()
    compute_device.compute_device(1, tf32=True)
    assert flags() == before


def test_every_program_that_computes_on_a_gpu_chooses_its_float32():
    found, others = {}, {}
    for folder in (SCRIPTS, REPOSITORY / "comparisons"):
        base = SCRIPTS if folder == SCRIPTS else REPOSITORY
        for path in folder.rglob("*.py"):
            text = path.read_text()
            if not any(name in text for name in (*NAMES, "gpu_is_usable", "tf32", "matmul")):
                continue
            calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
            named = [(ast.unparse(call.func).rpartition(".")[2], call) for call in calls]
            place = str(path.relative_to(base))
            if chosen := [ast.unparse(call) for name, call in named if name in NAMES]:
                found[place] = chosen
            elif any("gpu_is_usable" in ast.unparse(call) for _, call in named):
                others[place] = True
            if any(name == "set_float32_matmul_precision" for name, _ in named):
                assert place == "ddpm_bench/machine/compute_device.py"
    assert found == CHOICES
    assert set(others) <= ASK_ONLY
