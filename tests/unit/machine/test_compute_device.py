"""A program never computes on the CPU by accident, nor with more threads than it was given."""

import os
import subprocess

import pytest
import torch
from measured_cells import MeasuredCell
from places import SCRIPTS
from training_runs import Run, write_dataset

from ddpm_bench.errors import EXIT_USER_ERROR, UserError
from ddpm_bench.machine import compute_device, host
from ddpm_bench.machine.compute_device import unusable
from ddpm_bench.machine.torch_build import TorchBuild

without_gpus = pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a GPU here")


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that this job was given, and that torch cannot use."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv("DDPM_BENCH_DEVICES", raising=False)
    monkeypatch.delenv(compute_device.STAND_INS, raising=False)
    monkeypatch.setattr(compute_device, "driver_version", lambda: "470.82.01")


@without_gpus
def test_a_gpu_that_torch_cannot_use_is_an_error_with_both_versions(gpu):
    with pytest.raises(UserError) as error:
        compute_device.compute_device(1)
    for part in ("GPU 0: ", "driver 470.82.01", torch.__version__, "CUDA_VISIBLE_DEVICES= (empty)"):
        assert part in str(error.value)


@without_gpus
def test_a_process_without_torch_asks_another_one(gpu):
    with pytest.raises(UserError, match=r"^GPU 0: torch cannot use"):
        compute_device.check_gpu_in_another_process()


def test_the_error_of_the_other_process_is_whole(monkeypatch):
    whole = (
        "GPU 0: torch cannot use what this job was given: CUDA error: unknown error (driver 580)"
    )
    stderr = f"UserWarning: CUDA error: unknown error\nerror: {whole}\n"
    ended = subprocess.CompletedProcess([], EXIT_USER_ERROR, stdout="", stderr=stderr)
    monkeypatch.setattr(compute_device.subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(UserError) as raised:
        compute_device.check_gpu_in_another_process()
    assert str(raised.value) == whole


@without_gpus
@pytest.mark.parametrize("named", ["", "-1"])
def test_gpus_that_are_hidden_are_no_error(gpu, monkeypatch, named):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert compute_device.compute_device(1) == torch.device("cpu")


@pytest.mark.parametrize(
    ("build", "driver", "remedy"),
    [
        (TorchBuild("2.14.1+cu130", cuda="13.0"), "470.82.01", "update the driver to 580"),
        (TorchBuild("2.14.1+cu130", cuda="13.0"), "535.104.05", "LOCK=envs/requirements-cuda12"),
        (TorchBuild("2.10.0+cu128", cuda="12.8"), "470.82.01", "update the driver to 525"),
        (TorchBuild("2.14.1+cu130", cuda="13.0"), "580.65.06", "look whether nvidia-smi shows"),
        (TorchBuild("2.14.1+cu130", cuda="13.0"), None, "look whether nvidia-smi shows"),
        (TorchBuild("2.14.1+cpu"), "580.65.06", "install a torch that is built for it"),
    ],
)
def test_the_remedy_is_for_what_is_wrong(build, driver, remedy):
    assert remedy in unusable(["0", "1"], build, driver, "no reason")


def test_a_gpu_without_compiled_code_is_an_error_before_any_work(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_120"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla V100-SXM2-32GB")
    found = [(8, 6), (7, 0)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: found[number])
    monkeypatch.setattr(compute_device, "driver_version", lambda: "580.65.06")
    with pytest.raises(UserError) as error:
        compute_device.compute_device(1)
    assert str(error.value).startswith(
        f"GPU 3 (Tesla V100-SXM2-32GB, compute capability 7.0): torch {torch.__version__} has no "
        "code for it, only for sm_75, sm_80, sm_120; "
    )
    assert "make env LOCK=envs/requirements-cuda12.lock" in str(error.value)
    found[1] = (7, 5)
    compute_device.check_compiled_code()


@without_gpus
@pytest.mark.parametrize("how", [{}, {"gpus": 2}, {"on_failure": "record"}], ids=str)
def test_a_training_ends_before_any_work(gpu, tmp_path, monkeypatch, how):
    monkeypatch.setenv("DDPM_BENCH_DEVICE_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    write_dataset(tmp_path)
    run = Run(tmp_path, "no-gpu", how=how)
    process = run.start(0, 20)
    _, printed = process.communicate(timeout=120)
    assert (process.returncode, printed.count("error: GPU")) == (2, 1), printed
    assert not [path for path in run.results.rglob("*") if path.is_file()]


@without_gpus
def test_a_cell_of_the_benchmark_ends_before_any_work(gpu, tmp_path, monkeypatch):
    monkeypatch.setenv("DDPM_BENCH_DEVICE_LOCKS", str(tmp_path / "locks"))
    cell = MeasuredCell(tmp_path, cell={"processes": 1})
    process = cell.start()
    _, printed = process.communicate(timeout=120)
    assert (process.returncode, printed.count("error: GPU 0")) == (2, 1), printed
    assert not cell.output.exists()


def test_nothing_else_in_the_library_chooses_the_cpu():
    asking = [path for path in SCRIPTS.rglob("*.py") if "cuda.is_available()" in path.read_text()]
    found = sorted(path.name for path in asking if path.parent.name != "gpu_check")
    assert found == ["compute_device.py", "sampling_program.py", "stage_memory.py"]


@pytest.mark.parametrize(
    ("environment", "processes", "cores", "threads"),
    [
        ({}, 1, 8, 8),
        ({}, 4, 2, 2),
        ({"GOTO_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}, 1, 1, 1),  # --cores 1
        ({"GOTO_NUM_THREADS": "4", "OMP_NUM_THREADS": "4"}, 2, 2, 2),
        ({"OMP_NUM_THREADS": "3,2"}, 1, 8, 3),
        ({"OMP_NUM_THREADS": "many"}, 1, 8, 8),
        ({"GOTO_NUM_THREADS": "8", "OMP_NUM_THREADS": "8", host.USERS_THREADS: "2"}, 1, 8, 2),
        ({"LOCAL_WORLD_SIZE": "4"}, None, 2, 2),
    ],
)
def test_no_more_cores_and_threads_than_were_given(
    monkeypatch, environment, processes, cores, threads
):
    for variable in (host.GRANTED, "OMP_NUM_THREADS", host.USERS_THREADS, "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert host.usable_cores(64, processes) == cores
    assert host.usable_threads(64, processes) == threads
    assert (host.usable_cores(1, processes), host.usable_threads(1, processes)) == (1, 1)
