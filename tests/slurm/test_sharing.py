"""Several checkpoints share one cluster job: `run.checkpoints_per_job`."""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Study
from places import REPOSITORY

from ddpm_bench.config.loading import read_config
from ddpm_bench.planning.earlier_jobs import EarlierJobs
from ddpm_bench.planning.resource_estimates import ResourceEstimates

STEPS = (20, 40, 60, 80)


@dataclass
class Shared:
    """A study of four checkpoints drawn two to a job on the cluster, in a run where the weights of
    step 40 were damaged; and drawn on, without the cluster, when they were whole again and the
    images of step 60 were gone."""

    study: Study
    first_run: dict[int, str]  # the sha256 of each step's images then
    second_run: dict[int, str]
    jobs: list[dict[str, str]]  # of the first run, as `scontrol show job` has them
    changed: dict[int, bool]  # whether the second run drew a step's images


@pytest.fixture(scope="module")
def shared(tmp_path_factory, slurm) -> Shared:
    study = Study(tmp_path_factory.mktemp("sharing") / "study", slurm)
    train = study.experiment["train"]
    train["steps"] = 80
    train["run"]["steps_per_job"] = 80
    study.experiment["validation"] = {"images": 0}
    study.experiment["samples"]["dpm4"]["run"]["checkpoints_per_job"] = 2
    here(study, "trained")
    weights = study.results / "checkpoints" / "step-00000040.safetensors"
    whole = weights.read_bytes()
    weights.unlink()  # a hard link: the training's own file stays whole
    weights.write_bytes(whole[:1000])
    study.run("--retries", "0", "sampled", succeeds=False)
    first, times = digests(study), modified(study)
    jobs = [described(study, number) for number in study.jobs("sample")]
    weights.write_bytes(whole)
    images(study, 60).unlink()
    here(study, "sampled")
    drawn = {step: modified(study)[step] != times.get(step) for step in STEPS}
    return Shared(study, first, digests(study), jobs, drawn)


def here(study: Study, *arguments: str) -> None:
    """Run the workflow without the cluster."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--configfile", str(study.config_file), "--cores", "1", *arguments]
    subprocess.run(command, cwd=study.folder, check=True, capture_output=True)


def images(study: Study, step: int) -> Path:
    return study.results / "samples" / "dpm4" / f"step-{step:08}" / "images-000000-000031.npy"


def digests(study: Study) -> dict[int, str]:
    paths = {step: images(study, step) for step in STEPS}
    return {
        step: hashlib.sha256(path.read_bytes()).hexdigest()
        for step, path in paths.items()
        if path.exists()
    }


def modified(study: Study) -> dict[int, int]:
    paths = {step: images(study, step) for step in STEPS}
    return {step: path.stat().st_mtime_ns for step, path in paths.items() if path.exists()}


def described(study: Study, number: int) -> dict[str, str]:
    words = study.cluster.run("scontrol", "--oneliner", "show", "job", str(number)).split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def test_two_checkpoints_take_one_job_and_one_gpu(shared):
    assert len(shared.jobs) == len(STEPS) // 2
    assert {job["TresPerJob"] for job in shared.jobs} == {"gres:gpu:1"}
    assert {job["NumCPUs"] for job in shared.jobs} == {"1"}


def test_a_member_that_fails_spoils_no_other_job(shared):
    assert set(shared.first_run) >= {60, 80}
    assert 40 not in shared.first_run


def test_the_next_run_draws_what_is_missing_and_nothing_else(shared):
    assert set(shared.second_run) == set(STEPS)
    assert [step for step in STEPS if shared.changed[step]] == [20, 40, 60]


def test_images_are_those_of_a_job_of_their_own(shared):
    assert shared.second_run[60] == shared.first_run[60]


def test_jobs_ask_for_enough_memory_and_not_for_three_times_as_much(shared, tmp_path):
    results = {"results_dir": str(shared.study.folder / "results")}
    config = read_config(shared.study.config_file).model_copy(update=results)
    elsewhere = config.model_copy(update={"results_dir": str(tmp_path)})  # nothing measured there
    needs = ResourceEstimates(elsewhere)
    asked = {"train": needs.training_mb("small"), "sample": needs.sampling_mb("small", "dpm4")}
    measured = EarlierJobs(config)
    ran = {
        "train": measured.jobs("train", "small"),
        "sample": measured.sampling_jobs("small", "dpm4"),
    }
    for rule, megabytes in asked.items():
        assert ran[rule]
        for _, peak in ran[rule]:
            assert peak < megabytes < 3 * peak
