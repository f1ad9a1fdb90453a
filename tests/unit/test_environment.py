"""One lock decides the versions; whatever else names versions agrees with it."""

import re
import shutil
import subprocess
import tomllib

import pytest
import yaml
from places import REPOSITORY

from ddpm_bench.machine.cuda_limits import OLDER_LOCK

LOCKS = {"13": "envs/requirements.lock", "12": OLDER_LOCK}  # by the version of CUDA
LOCK = (REPOSITORY / LOCKS["13"]).read_text()
of_each_lock = pytest.mark.parametrize("cuda", LOCKS)


def locked(cuda: str) -> dict[str, str]:
    """The versions in a lock."""
    text = (REPOSITORY / LOCKS[cuda]).read_text()
    return dict(re.findall(r"^([a-z0-9_.-]+)==([^ ;\\]+)", text, re.M))


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[A-Za-z0-9_.-]+", item)[0] for item in requirements}


@of_each_lock
def test_the_lock_has_a_hash_for_every_package(cuda):
    blocks = re.split(r"^(?=[a-z0-9])", (REPOSITORY / LOCKS[cuda]).read_text(), flags=re.M)[1:]
    assert len(blocks) > 60
    assert all("--hash=sha256:" in block for block in blocks)


@of_each_lock
def test_the_lock_holds_every_dependency_of_the_project(cuda):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = names(project["dependencies"]) | names(project["optional-dependencies"]["dev"])
    assert wanted <= set(locked(cuda))


@of_each_lock
def test_the_lock_is_for_its_version_of_cuda(cuda):
    others = {"12": "13", "13": "12"}
    assert f"nvidia-nccl-cu{cuda}" in locked(cuda)
    assert not [name for name in locked(cuda) if name.endswith(f"-cu{others[cuda]}")]


def test_the_locks_differ_in_torch_and_in_what_comes_with_it_only():
    newer, older = locked("13"), locked("12")
    differing = {name for name in {*newer, *older} if newer.get(name) != older.get(name)}
    assert {"torch", "torchvision", "triton"} <= differing
    rest = differing - {"torch", "torchvision", "triton"}
    assert [name for name in rest if not name.startswith(("nvidia-", "cuda-"))] == []


@pytest.fixture
def clone(tmp_path):
    """A clone with two short locks."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for lock in LOCKS.values():
        (tmp_path / lock).parent.mkdir(exist_ok=True)
        (tmp_path / lock).write_text(f"# {lock}\n")
    return tmp_path


def make_env(clone, *arguments: str) -> list[str]:
    """The commands of `make env`; [] where nothing is to be made."""
    done = subprocess.run(
        ["make", "-n", "env", *arguments], cwd=clone, capture_output=True, text=True, check=True
    )
    return [line for line in done.stdout.splitlines() if "-m venv" in line or "-m pip" in line]


def test_the_environment_stays_with_the_lock_that_it_was_made_from(clone):
    venv, pip = make_env(clone)
    assert "--clear" not in venv and pip.endswith(f"-r {LOCKS['13']}")
    made = clone / ".venv" / "requirements-cuda12.lock"
    made.parent.mkdir()
    shutil.copy(clone / LOCKS["12"], made)
    assert make_env(clone) == []
    assert make_env(clone, f"LOCK={LOCKS['12']}") == []
    venv, pip = make_env(clone, f"LOCK={LOCKS['13']}")
    assert "--clear" in venv and pip.endswith(f"-r {LOCKS['13']}")
    (clone / LOCKS["12"]).write_text("# another version\n")  # as git pull brings it
    venv, pip = make_env(clone)
    assert "--clear" not in venv and pip.endswith(f"-r {LOCKS['12']}")


def test_the_conda_environment_has_the_projects_dependencies_at_the_locks_versions():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((REPOSITORY / "envs" / "environment.yaml").read_text())
    (pip,) = [item["pip"] for item in conda["dependencies"] if isinstance(item, dict)]
    pinned = dict(item.split("==") for item in pip)
    # numpy's version differs between Pythons; the one for conda's Python stands there.
    python = next(item for item in conda["dependencies"] if str(item).startswith("python="))
    assert python == "python=3.12"
    assert pinned == {name: versions_for_312(name) for name in pinned}
    assert names(project["dependencies"]) == set(pinned)


def versions_for_312(name: str) -> str:
    """The locked version of a package on Python 3.12."""
    for version, marker in re.findall(rf"^{re.escape(name)}==([^ ;\\]+)([^\\]*)", LOCK, re.M):
        if "python_full_version < '3.12'" not in marker:
            return version
    raise AssertionError(f"{name} is not in the lock")


def test_no_registry_is_named():
    tracked = [REPOSITORY / "envs", REPOSITORY / "Makefile", REPOSITORY / "pyproject.toml"]
    files = [file for path in tracked for file in ([path] if path.is_file() else path.iterdir())]
    assert not [
        file for file in files if re.search(r"--(extra-)?index-url|find-links", file.read_text())
    ]
