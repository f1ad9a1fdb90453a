"""A small study, run once by real Snakemake; tests ask what would run after a change of it."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from places import REPOSITORY
from small_study import SMALL


class Study:
    """A folder in which the workflow is run, with a config that tests change."""

    def __init__(self, folder: Path, code: Path = REPOSITORY) -> None:
        self.folder, self.code = folder, code
        self.config = copy.deepcopy(SMALL)

    @property
    def experiment(self) -> dict:
        return self.config["experiments"]["small"]

    @property
    def results(self) -> Path:
        return self.folder / "results" / "small"

    def command(self, *arguments: str) -> list[str]:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(self.code / "Snakefile")]
        command += ["--workflow-profile", str(self.code / "profiles" / "default")]
        return [*command, "--configfile", str(path), "--cores", "2", *arguments]

    def run(self, *arguments: str, succeeds: bool = True) -> str:
        """Run the workflow; returns all that it printed."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert (done.returncode == 0) == succeeds, done.stdout
        return done.stdout

    def would_run(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule would run now; the target rules themselves do not count."""
        printed = self.run("--dry-run", *arguments)
        if "Nothing to be done" in printed:
            return {}
        table = printed.split("Job stats:")[1].split("\n\n")[0]
        jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
        return {name: count for name, count in jobs.items() if name not in ("all", "total")}

    def copied(self, folder: Path) -> "Study":
        """The same study, finished as it is, in a folder of its own."""
        shutil.copytree(self.folder, folder, symlinks=True)
        other = Study(folder, self.code)
        other.config = copy.deepcopy(self.config)
        return other

    def executed_steps(self) -> list[tuple[int, int]]:
        """(first, last) of each stretch of training steps that was executed, in order."""
        stretches = []
        for path in sorted((self.results / "training").glob("*/progress.jsonl")):
            for line in path.read_text().splitlines():
                event = json.loads(line)
                if "steps_executed" in event:
                    stretches.append((event["step"] - event["steps_executed"], event["step"]))
        return stretches


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Study:
    """The small study, run to its end, once for all processes that run tests. Tests must not write
    into it: they use `study`."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    study, done = Study(folder / "finished-study"), folder / "finished-study.done"
    with FileLock(folder / "finished-study.lock"):
        if not done.exists():
            study.folder.mkdir()
            study.run()
            done.touch()
    return study


@pytest.fixture
def new_study(tmp_path) -> Study:
    """The small study in an empty folder."""
    return Study(tmp_path)


@pytest.fixture
def study(finished, tmp_path) -> Study:
    """A finished study that a test may change and run again."""
    return finished.copied(tmp_path / "study")


@pytest.fixture
def changed_code(tmp_path) -> Callable[[str, str, str], Path]:
    """A copy of the project in which one text of one file is replaced by another."""

    def change(file: str, before: str, after: str) -> Path:
        code = tmp_path / "code"
        code.mkdir()
        shutil.copy2(REPOSITORY / "Snakefile", code)
        for name in ("workflow", "config", "profiles", "envs"):
            shutil.copytree(REPOSITORY / name, code / name)
        path = code / file
        text = path.read_text()
        assert text.count(before) == 1, f"{before!r} stands {text.count(before)} times in {file}"
        path.write_text(text.replace(before, after))
        return code

    return change
