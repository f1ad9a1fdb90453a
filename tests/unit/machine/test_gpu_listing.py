"""GPUs are found by nvidia-smi, by the driver's files, and by what the environment names."""

import pytest

from ddpm_bench.machine import gpu_listing
from ddpm_bench.machine.torch_build import TorchBuild

WHOLE = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-91f4e2c8-31bd-8aa2-b4d7-2e5c3b1a0f66)
"""
SLICED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
  MIG 3g.20gb     Device  0: (UUID: MIG-0a1b)
  MIG 1g.5gb      Device  1: (UUID: MIG-GPU-5c89852c/3/0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-91f4e2c8-31bd-8aa2-b4d7-2e5c3b1a0f66)
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without GPUs, whose folders tests fill."""
    for variable in ("DDPM_BENCH_DEVICES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    for name in ("DRIVER", "DEVICES", "KFD_NODES", "WSL"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(gpu_listing, name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    return tmp_path


def nvidia_smi(folder, printed: str, status: int = 0) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'EOF'\n{printed}EOF\nexit {status}\n")
    program.chmod(0o755)


def by_driver(folder, count: int, nodes: int) -> None:
    for index in range(count):
        (folder / "DRIVER" / "gpus" / f"0000:0{index}:00.0").mkdir(parents=True)
    for index in range(nodes):
        (folder / "DEVICES" / f"nvidia{index}").touch()
    (folder / "DEVICES" / "nvidiactl").touch()


@pytest.mark.parametrize(
    ("printed", "devices"),
    [(WHOLE, ["0", "1"]), (SLICED, ["MIG-0a1b", "MIG-GPU-5c89852c/3/0", "1"]), ("", [])],
)
def test_gpus_and_slices_are_those_of_nvidia_smi(machine, printed, devices):
    nvidia_smi(machine / "bin", printed)
    assert gpu_listing.present_devices() == devices


def test_nvidia_smi_of_wsl_is_found_outside_the_path(machine):
    nvidia_smi(machine / "WSL", WHOLE)
    assert gpu_listing.present_devices() == ["0", "1"]


@pytest.mark.parametrize(("count", "nodes", "found"), [(4, 4, 4), (4, 2, 2), (3, 0, 3), (0, 2, 2)])
@pytest.mark.parametrize("program", ["missing", "fails"])
def test_gpus_are_found_without_nvidia_smi(machine, count, nodes, found, program):
    if program == "fails":
        nvidia_smi(machine / "bin", "Failed to initialize NVML\n", status=9)
    by_driver(machine, count, nodes)
    assert gpu_listing.present_devices() == [str(index) for index in range(found)]


def test_gpus_of_amd_are_listed_for_a_torch_that_is_built_for_them_only(machine, monkeypatch):
    for index, units in enumerate((0, 304, 304)):
        node = machine / "KFD_NODES" / str(index)
        node.mkdir()
        (node / "properties").write_text(f"cpu_cores_count 8\nsimd_count {units}\n")
    for build, devices in (
        (TorchBuild("2.14", cuda="13.0"), []),
        (TorchBuild("2.14", hip="6.4"), ["0", "1"]),
    ):
        monkeypatch.setattr(gpu_listing, "torch_build", lambda build=build: build)
        assert gpu_listing.present_devices() == devices


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2, 3,-1,4", ["2", "3"]),
        ("MIG-0a1b", ["MIG-0a1b"]),
    ],
)
def test_what_the_environment_names_stands_before_what_is_found(
    machine, monkeypatch, text, devices
):
    nvidia_smi(machine / "bin", WHOLE)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", text)
    assert gpu_listing.present_devices() == devices


@pytest.mark.parametrize(
    ("visible", "indices"),
    [(None, ["0", "1"]), ("1", ["1"]), ("GPU-5c89", ["0"]), ("", []), ("MIG-0a1b", [])],
)
def test_gpus_are_described_with_their_compute_capability(machine, monkeypatch, visible, indices):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    rows = "0, GPU-5c89852c, 7.0, Tesla V100, 32 GB\n1, GPU-91f4e2c8, 12.0, RTX\n"
    nvidia_smi(machine / "bin", f"{rows}2, GPU-0, [N/A], Unknown\n")
    found = gpu_listing.nvidia_gpus()
    assert [gpu.index for gpu in found] == indices
    if visible is None:
        first, second = found
        assert first.in_words() == "GPU 0 (Tesla V100, 32 GB, compute capability 7.0)"
        assert second.capability == (12, 0)


def test_a_driver_that_describes_no_capability_is_no_error(machine):
    nvidia_smi(machine / "bin", 'Field "compute_cap" is not a valid field to query.\n', status=2)
    assert gpu_listing.nvidia_gpus() == []


def test_the_version_of_the_driver_is_read_from_its_file_or_asked_for(machine):
    nvidia_smi(machine / "bin", "570.86.15\n570.86.15\n")
    assert gpu_listing.driver_version() == "570.86.15"
    line = (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 21:21:55 UTC 2021\n"
    )
    (machine / "DRIVER" / "version").write_text(line)
    assert gpu_listing.driver_version() == "470.82.01"
