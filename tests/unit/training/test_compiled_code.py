"""Compiled code that a kill has left half-written is compiled again."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from places import SCRIPTS

from ddpm_bench.training.folder import TrainingFolder, is_whole_library

# As a compiler writes them: others are patched, with the table of sections elsewhere.
LIBRARIES = sorted(Path(sysconfig.get_paths()["purelib"], "pandas").rglob("*.so"))
COMPILED_SUM = """
import sys, torch
print(float(torch.compile(lambda x: x.sin() + 1)(torch.zeros(8)).sum()))
"""


@pytest.mark.parametrize("library", LIBRARIES[:5], ids=lambda path: path.name)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_library_that_was_cut_off_is_told_from_a_whole_one(tmp_path, library, share):
    content = library.read_bytes()
    copy = tmp_path / "copy.so"
    copy.write_bytes(content)
    assert is_whole_library(copy)
    copy.write_bytes(content[: int(share * len(content))])
    assert not is_whole_library(copy)


def test_leftovers_of_a_killed_compiler_go_and_finished_code_stays(tmp_path):
    folder = TrainingFolder(tmp_path, "name")
    finished, cut = folder.compiled / "ab" / "finished.so", folder.compiled / "cd" / "cut.so"
    for path in (finished, cut):
        path.parent.mkdir(parents=True)
    finished.write_bytes(LIBRARIES[0].read_bytes())
    cut.write_bytes(LIBRARIES[0].read_bytes()[:1000])
    folder.remove_leftovers()
    assert finished.exists()
    assert not cut.exists()


@pytest.mark.long
def test_a_program_with_compiled_code_runs_after_a_kill_of_the_compiler(tmp_path):
    folder = TrainingFolder(tmp_path, "name")
    environment = {
        **os.environ,
        "PYTHONPATH": str(SCRIPTS),
        "TORCHINDUCTOR_CACHE_DIR": str(folder.compiled),
    }

    def run() -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", COMPILED_SUM]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run().stdout == "8.0\n"
    for library in folder.compiled.rglob("*.so"):
        library.write_bytes(b"")
    assert run().returncode != 0
    folder.remove_leftovers()
    assert run().stdout == "8.0\n"
