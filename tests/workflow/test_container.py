"""`--sdm apptainer`: jobs find our programs in the image. A stand-in for apptainer runs the command
with the variables that an image gives, since no image can be built without a registry."""

import os
import sys
from pathlib import Path

import pytest
from conftest import Study

STAND_IN = """#!{python}
import os, sys
if sys.argv[1:] == ["--version"]:
    print("apptainer version 1.3.0")
    raise SystemExit
image = sys.argv.index("ddpm-bench.sif")
assert "exec" in sys.argv[:image], sys.argv
before = os.environ.pop("APPTAINERENV_PREPEND_PATH")
os.environ["PATH"] = os.pathsep.join([before, "{image}", "/usr/bin", "/bin"])
os.execvp(sys.argv[image + 1], sys.argv[image + 1:])
"""


@pytest.fixture
def with_apptainer(tmp_path, monkeypatch) -> Path:
    """A log of the Pythons that jobs ran under, in a machine that has an `apptainer`."""
    image, host = tmp_path / "image", tmp_path / "host"
    image.mkdir()
    host.mkdir()
    log = tmp_path / "pythons"
    (image / "python").write_text(f'#!/bin/sh\necho "$0 $1" >>{log}\nexec {sys.executable} "$@"\n')
    (host / "apptainer").write_text(STAND_IN.format(python=sys.executable, image=image))
    for path in (image / "python", host / "apptainer"):
        path.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(host), os.environ["PATH"]]))
    return log


def test_jobs_run_under_the_image_s_python(with_apptainer, tmp_path):
    study = Study(tmp_path / "contained")
    study.folder.mkdir()
    (study.folder / "ddpm-bench.sif").touch()
    study.run("prepared", "--sdm", "apptainer")
    assert (study.folder / "results/datasets/digits/train.npy").exists()
    ran = [Path(line.split()[1]).name for line in with_apptainer.read_text().splitlines()]
    assert ran == ["fetch.py", "prepare.py"]


def test_a_missing_image_is_named_with_the_command_that_builds_it(with_apptainer, tmp_path):
    study = Study(tmp_path / "contained")
    study.folder.mkdir()
    printed = study.run("prepared", "--sdm", "apptainer", succeeds=False)
    assert "ddpm-bench.sif is not here" in printed
    assert "apptainer build ddpm-bench.sif envs/container.def" in printed
    assert not (study.folder / "results").exists()
