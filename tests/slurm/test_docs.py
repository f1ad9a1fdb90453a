"""Every command of docs/slurm.md, from top to bottom, in a fresh clone on a cluster."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import SMALL
from places import REPOSITORY

PAGE = (REPOSITORY / "docs" / "slurm.md").read_text()
BOXES = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.M | re.S)


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The project as a newcomer has it, with an environment and a config of theirs."""
    folder = tmp_path_factory.mktemp("clone") / "ddpm-bench"
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = subprocess.run(listing, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    for name in files.stdout.split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    (folder / ".venv").symlink_to(Path(REPOSITORY, ".venv").resolve())
    (folder / "my.yaml").write_text(yaml.safe_dump(SMALL))
    return folder


def test_every_command_of_the_page_works(clone, slurm):
    assert len(BOXES) > 5
    for box in BOXES:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", box],
            cwd=clone,
            env=slurm.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{box}\n{done.stdout}\n{logs(clone)}"
    scores = clone / "results/small/report/evaluation_results.csv"
    assert len(scores.read_text().splitlines()) == 3  # a head, and a row for each checkpoint


def test_the_page_shows_the_profile_as_it_is():
    shown = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.M | re.S)
    profile = (REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text()
    assert len(shown) == 2
    assert all(part in profile for part in shown)


def logs(folder: Path) -> str:
    return "\n".join(path.read_text()[-3000:] for path in folder.glob("*.log"))
