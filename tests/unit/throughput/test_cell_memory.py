"""Memory limit of a cell's processes on a machine without GPUs."""

from pathlib import Path

import pytest
from measured_cells import MeasuredCell

from ddpm_bench.config.benchmark import CellMeasuring
from ddpm_bench.machine import memory_limit
from ddpm_bench.machine.memory_limit import free_bytes, is_out_of_memory, share_bytes

GB = 10**9


@pytest.fixture
def free(monkeypatch):
    """Sets what the machine has free, and no cgroup or SLURM job bounds it."""

    def set_free(amount: int) -> None:
        monkeypatch.setattr(memory_limit, "_available", lambda: amount)

    monkeypatch.setattr(memory_limit, "_left_in_cgroups", list)
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    return set_free


def test_processes_share_what_is_free_and_leave_some(free):
    free(10 * GB)
    one, two = (share_bytes(CellMeasuring().memory_mb_per_process, count) for count in (1, 2))
    assert 0.5 * 10 * GB < one < 10 * GB
    assert two == one // 2


def test_what_the_config_says_is_given_unless_less_is_free(free):
    asked = CellMeasuring(memory_mb_per_process=3000).memory_mb_per_process
    free(10 * GB)
    assert share_bytes(asked, 2) == 3 * GB
    free(4 * GB)
    assert share_bytes(asked, 2) < 2 * GB


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"SLURM_MEM_PER_NODE": "1000"}, 1000 * 2**20),
        ({"SLURM_MEM_PER_CPU": "500", "SLURM_CPUS_ON_NODE": "4"}, 2000 * 2**20),
        ({"SLURM_MEM_PER_NODE": "0"}, 10 * GB),  # all that the node has
    ],
)
def test_a_slurm_job_has_what_it_asked_for(free, monkeypatch, given, expected):
    free(10 * GB)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert free_bytes() == expected


def cgroup(folder: Path, limit: str, used: int, droppable: int, version: int) -> None:
    names = ("memory.max", "memory.current")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    folder.mkdir(parents=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    stem = "total_" if version == 1 else ""
    text = f"anon 5\n{stem}inactive_file {droppable}\n"
    (folder / "memory.stat").write_text(text)


@pytest.mark.parametrize("version", [1, 2])
def test_the_cgroups_above_bound_it_too(tmp_path, version):
    """Files that the kernel can drop do not count; no limit is "max" or a huge number."""
    root = tmp_path / "cgroup"
    below = root / "memory" if version == 1 else root
    cgroup(below / "job", str(8 * GB), 3 * GB, 1 * GB, version)
    cgroup(below / "job" / "step", "max" if version == 2 else str(2**63 - 4096), 1, 0, version)
    membership = tmp_path / "membership"
    line = "4:cpu,memory:/job/step\n0::/elsewhere" if version == 1 else "0::/job/step"
    membership.write_text(f"9:pids:/job\n{line}\n")
    assert memory_limit._left_in_cgroups(membership, root) == [6 * GB]


def test_this_machine_says_what_it_has_free():
    assert free_bytes() > 10**8


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] can't allocate memory: you ..."), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory of words"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_cell_of_torch_that_does_not_fit_is_a_row_with_what_to_set(tmp_path):
    cell = MeasuredCell(
        tmp_path,
        cell={"processes": 1, "strategy": "single", "batch_size": 10**6},
        measuring={"memory_mb_per_process": 2000},
    )
    record, _ = cell.complete()
    assert record.status == "out of memory"
    assert "more could not be had; a process may take 2,000 MB" in record.reason
