"""A driver or a GPU that torch cannot use is named before a run, with the lock that serves it."""

import os
import subprocess
import sys

import pytest
from places import REPOSITORY

from ddpm_bench.machine import cuda_limits
from ddpm_bench.machine.gpu_listing import NvidiaGpu
from ddpm_bench.machine.torch_build import TorchBuild

CUDA_13, CUDA_12 = TorchBuild("2.14.1+cu130", "13.0"), TorchBuild("2.10.0+cu128", "12.8")
P100 = NvidiaGpu("0", "Tesla P100", (6, 0))
V100 = NvidiaGpu("0", "Tesla V100", (7, 0))
T4 = NvidiaGpu("0", "Tesla T4", (7, 5))
A100 = NvidiaGpu("1", "A100", (8, 0))
OLDER = "make env LOCK=envs/requirements-cuda12.lock"


@pytest.mark.parametrize(
    ("build", "driver", "gpus"),
    [
        (CUDA_13, "580.65.06", [T4, A100]),
        (CUDA_13, None, []),
        (CUDA_12, "525.60.13", [V100]),
        (TorchBuild("2.14.1+cpu"), "470.82.01", [V100]),
    ],
)
def test_what_fits_or_is_unknown_is_not_mentioned(build, driver, gpus):
    assert cuda_limits.misfit(build, driver, gpus) is None


@pytest.mark.parametrize(
    ("build", "driver", "gpus", "parts", "older"),
    [
        (CUDA_13, "535.104.05", [A100], ["535.104.05 is older than 580"], True),
        (CUDA_13, "470.82.01", [], ["470.82.01 is older than 580", "to 580 or newer"], False),
        (CUDA_13, "580.65.06", [V100, A100], ["GPU 0 (Tesla V100, compute cap", "7.5"], True),
        (
            CUDA_13,
            "535.104.05",
            [V100],
            ["older than 580 and GPU 0", "or newer and name other"],
            True,
        ),
        (CUDA_13, "580.65.06", [P100], ["capability 6.0) is below 7.5", "built for them"], False),
        (CUDA_12, "470.82.01", [P100], ["to 525 or newer", "is below 7.0"], False),
    ],
)
def test_what_does_not_fit_is_one_line_with_the_remedy(build, driver, gpus, parts, older):
    line = cuda_limits.misfit(build, driver, gpus)
    assert "\n" not in line and "A100" not in line
    assert line.startswith(f"torch {build.version}, built for CUDA {build.cuda}, does not fit")
    assert [part for part in parts if part not in line] == []
    assert (OLDER in line) == older


@pytest.mark.parametrize(
    ("capability", "architectures", "missing"),
    [
        ((7, 0), ["sm_75", "sm_80"], True),
        ((7, 0), ["sm_70", "sm_75"], False),
        ((8, 6), ["sm_80"], False),
        ((8, 6), ["sm_75", "sm_89"], True),
        ((10, 3), ["sm_100", "sm_120"], False),
        ((11, 0), ["sm_100", "sm_120"], True),
        ((12, 1), ["sm_90", "compute_90"], False),
        ((9, 0), ["sm_90a"], False),
        ((7, 0), [], False),
    ],
)
def test_code_of_a_capability_runs_on_later_ones_of_its_major_version(
    capability, architectures, missing
):
    assert cuda_limits.without_code(capability, architectures) == missing


def test_no_lock_is_named_for_gpus_newer_than_torch():
    ways = cuda_limits.remedy(CUDA_13, "590.1", [(11, 0)])
    assert OLDER not in ways and "built for them" in ways


def test_the_limits_are_those_of_the_torch_that_is_installed():
    torch = pytest.importorskip("torch")
    if torch.version.cuda is None:
        pytest.skip("torch is built for no CUDA")
    least = cuda_limits.FIRST_CAPABILITY[torch.version.cuda.partition(".")[0]]
    numbers = [
        int(name[3:]) for name in torch._C._cuda_getArchFlags().split() if name[3:].isdigit()
    ]
    assert divmod(min(numbers), 10) == least


SMI = """#!/bin/sh
case "$1" in
  --query-gpu=driver_version) echo 535.104.05 ;;
  --query-gpu=index*) echo "0, GPU-5c89852c, 7.0, Tesla V100" ;;
  -L) echo "GPU 0: Tesla V100 (UUID: GPU-5c89852c)" ;;
esac
"""


@pytest.mark.parametrize(("visible", "told"), [(None, True), ("-1", False)])
def test_a_config_is_checked_with_a_line_on_the_machine(tmp_path, visible, told):
    if cuda_limits.torch_build().cuda is None:
        pytest.skip("torch is built for no CUDA")
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    hidden = ("DDPM_BENCH_DEVICES", "CUDA_VISIBLE_DEVICES")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    environment |= {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    program = REPOSITORY / "workflow" / "scripts" / "commands" / "check_config.py"
    done = subprocess.run(
        [sys.executable, str(program), "--configfile", str(REPOSITORY / "config" / "config.yaml")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("does not fit this machine" in done.stderr) == told
