"""A private SLURM cluster, and a study that real Snakemake runs on it."""

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import small_study
import yaml
from cluster import Cluster, Shape, cluster, hindrance
from places import COMMANDS, REPOSITORY

LONGEST = (
    "test_run", "test_overview", "test_wall_time", "test_docs", "test_sampling_wall_time",
    "test_nodes", "test_preemption", "test_node_death", "test_main_killed", "test_controller",
    "test_sharing", "test_benchmark",
)  # fmt: skip

SMALL = copy.deepcopy(small_study.SMALL)
TRAIN = SMALL["experiments"]["small"]["train"]
TRAIN["learning_rate"] = 1e-4  # at which sums in another order stay close
TRAIN["run"]["compile"] = False


def pytest_configure(config: pytest.Config) -> None:
    if why := hindrance():
        pytest.exit(why, returncode=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A fork of a process on this machine would be none of a job's: programs start on its node.
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.new_process)
    # What takes longest begins first, where several processes share the files.
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else 99)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """A test that is skipped has shown nothing: here that is a failure."""
    report = yield
    if report.skipped:
        report.outcome, report.longrepr = "failed", f"skipped: {report.longrepr}"
    return report


class Study:
    """A folder in which the workflow is run on a cluster, with a config that tests change."""

    def __init__(self, folder: Path, on: Cluster) -> None:
        self.folder, self.cluster = folder, on
        self.config = copy.deepcopy(SMALL)
        # Words of the user, which outrank the profile's: a test machine is small.
        self.options: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def experiment(self) -> dict:
        return self.config["experiments"]["small"]

    @property
    def results(self) -> Path:
        return self.folder / "results" / "small"

    @property
    def config_file(self) -> Path:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return path

    def command(self, *arguments: str) -> list[str]:
        """What a user types: snakemake --profile profiles/slurm."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        command += ["--profile", str(REPOSITORY / "profiles" / "slurm")]
        command += ["--configfile", str(self.config_file), *self.options, *arguments]
        return command

    def start(self, *arguments: str, log: str = "main.log") -> subprocess.Popen:
        """Start the main snakemake in a group of its own; what it prints goes to `log`."""
        with (self.folder / log).open("a") as file:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.cluster.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_locally(self, folder: Path, *arguments: str) -> subprocess.Popen:
        """Start the same study on this machine alone, in another folder: what to compare with."""
        take_datasets(self.folder, folder)
        (folder / "config.yaml").write_text(yaml.safe_dump(self.config))
        return subprocess.Popen(locally(*arguments), cwd=folder, start_new_session=True)

    def ask_for_training(self, **resources: object) -> None:
        """The resources of training jobs, in place of the profile's."""
        asked = {"slurm_partition": "gpu", "mem_mb": 2000, "runtime": 30, **resources}
        train = [f"train:{name}={value}" for name, value in asked.items()]
        self.options = ["--set-resources", "prepare:mem_mb=2000", *train, "--retries", "0"]

    def wait_until_trained(self, steps: int = 1, seconds: float = 120) -> int:
        """Wait until a step is reported; returns it."""
        done = self.wait_for(
            lambda: [event["step"] for event in self.events() if event["step"] >= steps], seconds
        )
        return done[-1]

    def assert_went_on_from_its_last_state(self, steps: int) -> None:
        """A training was broken off once, went on from what was saved last, and came to its end."""
        events = self.events()
        (resumed,) = [number for number, event in enumerate(events) if event["event"] == "resumed"]
        saved = [event["step"] for event in events[:resumed] if event["event"] == "state saved"]
        assert events[resumed]["step"] == saved[-1] > 0
        assert events[-1]["event"] == "job ended" and events[-1]["step"] == steps

    def process(self, job: int, name: str = "train.py") -> psutil.Process:
        """The program of a job on one node, which may be stopped to make it slow."""
        node = self.cluster.run("squeue", "--noheader", f"--jobs={job}", "--format=%N")
        for pid in self.cluster.processes_of_node(node):
            with suppress(psutil.NoSuchProcess):
                found = psutil.Process(pid)
                if found.name() == "python" and any(name in one for one in found.cmdline()):
                    return found
        raise AssertionError(f"no {name} on {node}")

    def restarts(self, job: int) -> int:
        """How often SLURM has sent a job into the queue again."""
        shown = self.cluster.run("scontrol", "--oneliner", "show", "job", str(job))
        return int(re.search(r" Restarts=(\d+)", shown)[1])

    def printed(self, log: str = "main.log") -> str:
        return (self.folder / log).read_text()

    def run(
        self,
        *arguments: str,
        succeeds: bool = True,
        timeout: float = 600,
        log: str = "main.log",
    ) -> str:
        """Run the workflow to its end; returns all that it printed."""
        process = self.start(*arguments, log=log)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"still running after {timeout} s:\n{self.printed(log)}") from None
        assert (status == 0) == succeeds, self.printed(log)
        return self.printed(log)

    def program(self, name: str, *arguments: str) -> subprocess.CompletedProcess:
        """Run one of the commands, as a user on the login node would."""
        return subprocess.run(
            [sys.executable, str(COMMANDS / name), *arguments],
            cwd=self.folder,
            env=self.cluster.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def jobs(self, rule: str = "") -> dict[int, str]:
        """State of each of this folder's jobs that SLURM knows of, by id; of one rule if named."""
        table = self.cluster.run("squeue", "--noheader", "--states=all", "--format=%i|%T|%k|%Z")
        rows = [line.split("|", 3) for line in table.splitlines()]
        return {
            int(number): state
            for number, state, comment, folder in rows
            if Path(folder) == self.folder and comment.startswith(f"rule_{rule}")
        }

    def wait_for(self, condition: Callable[[], object], seconds: float = 120) -> object:
        """What `condition` gives, once it is true. Raises AssertionError after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(OSError):
                if value := condition():
                    return value
            time.sleep(0.2)
        raise AssertionError(f"not seen within {seconds} s:\n{self.printed()}")

    def events(self) -> list[dict]:
        """Lines of progress.jsonl, of all trainings of the experiment, in order."""
        paths = sorted((self.results / "training").glob("*/progress.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def executed_steps(self) -> list[tuple[int, int]]:
        """(first, last) of each stretch of training steps that was executed and reported."""
        return [
            (event["step"] - event["steps_executed"], event["step"])
            for event in self.events()
            if "steps_executed" in event
        ]


def locally(*arguments: str) -> list[str]:
    """The command that runs the workflow on this machine alone, in the working directory."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--cores", "1", "--configfile", "config.yaml", "--quiet", "all", "--"]
    return [*command, *arguments]


def take_datasets(source: Path, folder: Path) -> None:
    """Copy what was fetched and prepared from one working directory to another."""
    for name in ("resources/datasets", "results/datasets"):
        shutil.copytree(source / name, folder / name)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """A working directory with the digits of SMALL prepared."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "config.yaml").write_text(yaml.safe_dump(SMALL))
    subprocess.run(locally("prepared"), cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def shape() -> Shape:
    """The cluster that a module's tests run on; modules may give another."""
    return Shape()


@pytest.fixture(scope="module")
def slurm(short_folder, shape) -> Iterator[Cluster]:
    with cluster(short_folder(), shape) as running:
        yield running


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Callable[[], Path]]:
    """Makes folders whose names leave room for those of sockets; pytest's own are too long."""
    with ExitStack() as folders:
        yield lambda: Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))


@pytest.fixture
def study(tmp_path, slurm) -> Iterator[Study]:
    made = Study(tmp_path / "study", slurm)
    yield made
    jobs = [str(number) for number in made.jobs()]
    if jobs:
        subprocess.run(["scancel", *jobs], env=slurm.environment, check=False)
