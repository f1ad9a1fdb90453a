"""The studies of config/experiments/: what a real dry run of each would do, with no network.

How many jobs there are is counted here from the study itself: checkpoints x sets x scores.
"""

import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from places import REPOSITORY

from ddpm_bench.config.loading import read_config
from ddpm_bench.planning.network_size import network_size

STUDIES = REPOSITORY / "config" / "experiments"


@dataclass(frozen=True)
class Planned:
    """Jobs of each rule, and the GPUs that each training asks for."""

    jobs: dict[str, int]
    gpus: int


PLANNED = {
    # Two experiments: 75,000 steps of 15,000 a job; a job draws from each of 75 checkpoints, and
    # four the 5,000 images of the latest; both sets have two scores, and FID's features their own
    # pass over both splits.
    "sysu-shape": Planned(
        {
            "train": 2 * 5, "validate": 2 * 5, "sample": 2 * (75 + 4), "score": 2 * (75 + 1) * 2,
            "reference_features": 2 * 2, "fetch_inception": 1, "train_classifier": 0,
        },
        gpus=4,
    ),
    # 800,000 steps of 100,000 a job; 16 checkpoints, and twice ten jobs for 50,000 images.
    "cifar10": Planned(
        {
            "train": 8, "validate": 8, "sample": 16 + 2 * 10, "score": 16 + 2,
            "reference_features": 2, "fetch_inception": 1, "train_classifier": 0,
        },
        gpus=4,
    ),
    # Three precisions; 5 checkpoints, and four or two sets of the latest alone; two scores.
    "fashion-mnist": Planned(
        {
            "train": 6, "validate": 6, "sample": 3 * (5 + 4) + 3 * (5 + 2),
            "score": 2 * (3 * (5 + 4) + 3 * (5 + 2)),
            "reference_features": 2 * 2, "fetch_inception": 1, "train_classifier": 1,
        },
        gpus=1,
    ),
    # An autoencoder of 6 checkpoints, encoded once; two experiments of 10, and two sets of the
    # latest alone; two scores of all.
    "mnist-latent": Planned(
        {
            "train": 1 + 2, "validate": 1 + 2, "encode": 1, "reconstruct": 6,
            "sample": 2 * (10 + 2), "score": 2 * 6 + 2 * 2 * (10 + 2),
            "reference_features": 2 * 2, "fetch_inception": 1, "train_classifier": 1,
        },
        gpus=2,
    ),
}  # fmt: skip


def dry_run(study: str, folder: Path) -> str:
    """What `snakemake --dry-run` prints in an empty folder."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--workflow-profile", str(REPOSITORY / "profiles" / "default"), "--dry-run"]
    command += ["--cores", "16", "--configfile", str(STUDIES / f"{study}.yaml")]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def jobs_of(printed: str) -> Counter[str]:
    """Jobs of each rule, of the table that a dry run begins with."""
    table = printed.split("Job stats:")[1].split("\n\n")[0]
    return Counter({name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)})


def gpus_of(printed: str, rule: str) -> set[int]:
    """The GPUs that the jobs of a rule ask for, those of groups too."""
    asked = re.findall(r"^ *rule (\w+):|^ *resources: .*\bgpu=(\d+)", printed, re.M)
    found, here = set(), ""
    for name, number in asked:
        here = name or here
        if number and here == rule:
            found.add(int(number))
    return found


@pytest.mark.parametrize("study", PLANNED)
def test_a_dry_run_has_the_jobs_and_gpus_of_the_study(study, tmp_path):
    printed, planned = dry_run(study, tmp_path), PLANNED[study]
    jobs = jobs_of(printed)
    assert {rule: jobs[rule] for rule in planned.jobs} == planned.jobs
    assert jobs["fetch"] == jobs["prepare"] == 1
    assert gpus_of(printed, "train") == {planned.gpus}
    assert gpus_of(printed, "sample") == gpus_of(printed, "score") == {1}
    assert not [path for path in tmp_path.iterdir() if path.name != ".snakemake"]


def test_every_study_is_dry_run_but_for_the_benchmarks():
    studies = {path.stem: yaml.safe_load(path.read_text()) for path in STUDIES.glob("*.yaml")}
    assert {name for name, keys in studies.items() if "experiments" in keys} == set(PLANNED)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_study_has_a_results_folder_of_its_own_and_says_how_to_run_it(path):
    assert read_config(path).results_dir == f"results-{path.stem}"
    head = path.read_text().split("\nresults_dir:")[0]
    assert all(line.startswith("#") or not line for line in head.splitlines())
    assert "to look for" in head or ("Published:" in head and "What to see:" in head)
    assert f"CONFIG=config/experiments/{path.name}" in head


def test_cifar10_is_the_published_network():
    """35.7 million parameters (Ho et al. 2020, appendix B)."""
    (experiment,) = read_config(STUDIES / "cifar10.yaml").experiments.values()
    assert network_size(experiment.model, 3, 32).parameters == 35_746_307
    assert experiment.diffusion.ends() == (1e-4, 0.02)


def test_skipped_steps_are_as_many_as_the_comments_say():
    experiments = read_config(STUDIES / "fashion-mnist.yaml").experiments
    steps = {
        name: keys.solver_steps()
        for experiment in experiments.values()
        for name, keys in experiment.samples.items()
        if name.startswith("skip")
    }
    assert steps == {"skip3": 368, "skip20": 240, "skip20-late": 240, "skip5": 72}
