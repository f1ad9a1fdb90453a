"""docs/gpu.md names every module with a branch for CUDA, and no other."""

import re

from places import SCRIPTS

LIBRARY = SCRIPTS / "ddpm_bench"
PAGE = SCRIPTS.parents[1] / "docs" / "gpu.md"
FOR_CUDA = re.compile(
    r'torch\.cuda\.|"cuda"|"nccl|NCCL_|CUDA_|cudnn|pin_memory|device\.type|torch\.(?:hip|version\.cuda)'
    r"|names\.get\(.cuda|nvidia-smi|init_device_mesh"
)
# Of planning and records, which hold texts about GPUs and run nothing on one.
TEXTS_ONLY = {"throughput/unsupported.py", "planning/memory_estimates.py", "records/cell_record.py"}


def test_the_page_names_every_module_with_a_branch_for_cuda():
    named = set(re.findall(r"^\| `([\w/]+\.py)` \|", PAGE.read_text(), re.M))
    modules = {
        path.relative_to(LIBRARY).as_posix(): path.read_text() for path in LIBRARY.rglob("*.py")
    }
    found = {name for name, text in modules.items() if FOR_CUDA.search(text)} - TEXTS_ONLY
    found = {name for name in found if not name.startswith("gpu_check/")}
    assert found - named == set(), "add a row to docs/gpu.md"
    assert {name for name in named if name not in modules} == set()
