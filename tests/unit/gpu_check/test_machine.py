"""Part "machine" of the GPU check."""

from pathlib import Path

import pytest

from ddpm_bench.gpu_check.machine import disk
from ddpm_bench.gpu_check.part import ON_A_GPU, WITH_STAND_INS, Setting


@pytest.mark.parametrize(
    ("gpu", "free", "outcome"),
    [(True, 64e9, "pass"), (True, 2e9, "fail"), (False, 2e9, "pass"), (False, 1e8, "fail")],
)
def test_a_disk_without_room_for_the_files_is_named(gpu, free, outcome):
    sizes = ON_A_GPU if gpu else WITH_STAND_INS
    check = disk(int(free), Setting(Path("/scratch/gpu-check-1"), gpu, **sizes))
    assert check.outcome == outcome
    assert "free in /scratch" in check.found
    assert ("TMPDIR=FOLDER" in check.remedy) == (outcome == "fail")
