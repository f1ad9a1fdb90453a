"""The part about the machine: which GPUs a build of torch has code for, and leases that overlap."""

import pytest

from ddpm_bench.gpu_check.leases import overlapping
from ddpm_bench.gpu_check.machine import has_code_for

CUDA_13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.mark.parametrize(
    ("capability", "built_for", "expected"),
    [
        ((9, 0), CUDA_13, True),
        ((8, 9), CUDA_13, True),  # runs code for 8.6
        ((7, 0), CUDA_13, False),  # Volta
        ((6, 1), CUDA_13, False),
        ((11, 0), CUDA_13, False),  # a major version that it has no code for
        ((11, 0), [*CUDA_13, "compute_120"], False),
        ((12, 1), [*CUDA_13, "compute_120"], True),
        ((13, 0), [*CUDA_13, "compute_120"], True),  # made for it when it is first used
        ((9, 0), ["sm_90a"], True),
        ((10, 3), ["sm_100a"], False),
        ((9, 4), ["gfx942"], True),  # ROCm
    ],
)
def test_a_build_has_code_for_a_gpu_or_has_not(capability, built_for, expected):
    assert has_code_for(capability, built_for) is expected


def test_leases_of_one_gpu_at_a_time_do_not_overlap():
    first = {"names": ["0"], "began": 1.0, "ended": 2.0}
    after = {"names": ["0"], "began": 2.0, "ended": 3.0}
    beside = {"names": ["1"], "began": 1.0, "ended": 3.0}
    during = {"names": ["0"], "began": 1.5, "ended": 2.5}
    assert overlapping([first, after, beside]) == 0
    assert overlapping([first, during]) == 1
    assert overlapping([first, after, during]) == 2
