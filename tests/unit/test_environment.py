"""One lock decides the versions; whatever else names versions agrees with it."""

import re
import tomllib

import yaml
from places import REPOSITORY

LOCK = (REPOSITORY / "envs" / "requirements.lock").read_text()
LOCKED = dict(re.findall(r"^([a-z0-9_.-]+)==([^ ;\\]+)", LOCK, re.M))


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[A-Za-z0-9_.-]+", item)[0] for item in requirements}


def test_the_lock_has_a_hash_for_every_package():
    blocks = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.M)[1:]
    assert len(blocks) > 60
    assert all("--hash=sha256:" in block for block in blocks)


def test_the_lock_holds_every_dependency_of_the_project():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = names(project["dependencies"]) | names(project["optional-dependencies"]["dev"])
    assert wanted <= set(LOCKED)


def test_the_conda_environment_has_the_projects_dependencies_at_the_locks_versions():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((REPOSITORY / "envs" / "environment.yaml").read_text())
    (pip,) = [item["pip"] for item in conda["dependencies"] if isinstance(item, dict)]
    pinned = dict(item.split("==") for item in pip)
    # numpy's version differs between Pythons; the one for conda's Python stands there.
    python = next(item for item in conda["dependencies"] if str(item).startswith("python="))
    assert python == "python=3.12"
    locked = {name: versions_for_312(name) for name in pinned}
    assert pinned == locked
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
