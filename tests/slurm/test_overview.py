"""`make status` and `make stop` beside a running study, on a cluster with one GPU."""

import copy
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import Shape
from small_requests import small_requests

FEATURES = [
    f"results/datasets/digits/features/classifier/{split}.npz" for split in ("train", "eval")
]
STEPS = 800
FEW_STEPS = 20


@pytest.fixture(scope="module")
def shape() -> Shape:
    return Shape(gpu_nodes=1, gpus=1)


def test_a_study_is_watched_stopped_and_goes_on(study, slurm):
    two_experiments(study)
    study.run(*FEATURES, "--executor", "local", "--cores", "2")
    others = [foreign_job(study, study.folder), foreign_job(study, study.folder.parent)]
    main = start_with_one_waiting(study, slurm)
    study.wait_for(lambda: len(study.events()) > 3, 300)

    # One training has the GPU, the other waits for it.
    state = status(study)
    assert state["main"][0]["process"] == main.pid
    by_state = {job["state"]: job for item in state["experiments"] for job in item["jobs"]}
    assert by_state["RUNNING"]["nodes"] == slurm.gpu_nodes[0]
    assert by_state["RUNNING"]["gpus"] == [f"{slurm.gpu_nodes[0]}:0"]
    assert Path(by_state["RUNNING"]["log"]).is_relative_to(study.folder)
    assert by_state["PENDING"]["reason"] in ("Resources", "Priority")
    trained = next(item for item in state["experiments"] if item["name"] == "small")
    assert trained["trainer"]["slurm_job"] == by_state["RUNNING"]["id"]
    assert 0 < trained["steps_done"] < STEPS and trained["images_per_second"] > 0
    shown = study.program("status.py", "--configfile", "config.yaml").stdout
    assert f"on {slurm.gpu_nodes[0]} (GPU 0)" in shown
    assert f"({by_state['PENDING']['reason']}) in partition gpu" in shown

    # Stopping cancels these two jobs, and no others.
    stopped = study.program("stop.py", "--configfile", "config.yaml")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert main.wait(timeout=5) != 0
    assert {slurm.run("squeue", "-h", "-j", job, "-o", "%T") for job in others} == {"RUNNING"}
    left = [job for job, state in study.jobs().items() if state in ("RUNNING", "PENDING")]
    assert left == [int(others[0])]  # the other's folder is not the study's
    last = study.events()[-1]
    assert last["event"] == "stopped by a signal"
    saved = f"small: training is saved at step {last['step']:,} of {STEPS:,}"
    assert saved in stopped.stdout
    state = status(study)
    assert state["main"] == [] and [item["failures"] for item in state["experiments"]] == [[], []]
    slurm.run("scancel", *others)

    # The command that it names goes on from there.
    (command,) = [line for line in stopped.stdout.splitlines() if line.startswith("to go on: ")]
    run_command(study, command.removeprefix("to go on: "))
    assert study.executed_steps() == [(0, last["step"]), (last["step"], STEPS)]
    assert experiment(study, "other")["steps_done"] == FEW_STEPS

    # A job that fails is shown with its words and its log, and no more once it has succeeded.
    checkpoint = study.results / "checkpoints" / f"step-{STEPS:08}.safetensors"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-8])
    study.run("scored", "--retries", "0", succeeds=False, log="failed.log")
    (failure,) = experiment(study, "small")["failures"]
    assert failure["rule"] == "sample" and failure["state"] == "FAILED"
    assert checkpoint.name in failure["message"]
    assert failure["message"] in Path(study.folder, failure["log"]).read_text()
    checkpoint.write_bytes(whole)
    study.run("scored", log="scored.log")
    found = experiment(study, "small")
    assert found["failures"] == []
    assert (found["steps_done"], found["samples_done"], found["scores_done"]) == (STEPS, 1, 1)
    assert found["newest_scores"][0]["step"] == STEPS and found["newest_scores"][0]["fid"] > 0


def two_experiments(study) -> None:
    """One that is long enough to be watched, and a short one that waits for it."""
    study.options = small_requests()
    study.experiment["train"] |= {"steps": STEPS, "checkpoint_every": STEPS}
    study.experiment["train"]["run"] |= {"steps_per_job": STEPS, "save_seconds": 600}
    other = copy.deepcopy({**study.experiment, "samples": {}, "scores": {}})
    other["train"] |= {"steps": FEW_STEPS, "checkpoint_every": FEW_STEPS}
    study.config["experiments"]["other"] = other


def start_with_one_waiting(study, slurm) -> subprocess.Popen:
    """Start both trainings; the GPU is given to the long one."""
    (node,) = slurm.gpu_nodes
    slurm.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    main = study.start("trained")
    study.wait_for(lambda: len(study.jobs("train_wildcards")) == 3, 120)  # one is foreign
    (other,) = study.jobs("train_wildcards_other")
    slurm.run("scontrol", "update", f"jobid={other}", "nice=1000")
    slurm.run("scontrol", "update", f"nodename={node}", "state=resume")
    return main


def status(study) -> dict:
    done = study.program("status.py", "--json", "--configfile", "config.yaml")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def experiment(study, name: str) -> dict:
    (found,) = [item for item in status(study)["experiments"] if item["name"] == name]
    return found


def foreign_job(study, folder: Path) -> str:
    """A job of another workflow: of an experiment that this config lacks, or in another folder."""
    name = "foreign" if folder == study.folder else "small"
    comment = f"rule_train_wildcards_{name}_00000000_{STEPS:08}"
    job = study.cluster.run(
        "sbatch", "--parsable", f"--chdir={folder}", f"--comment={comment}", "--partition=cpu",
        "--mem=50", "--output=/dev/null", "--wrap=sleep 600",
    )  # fmt: skip
    study.wait_for(lambda: study.cluster.run("squeue", "-h", "-j", job, "-o", "%T") == "RUNNING")
    return job


def run_command(study, command: str) -> None:
    """Type a command that a program has printed; snakemake is the one of the environment."""
    assert command.startswith("snakemake ")
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=study.folder,
        env=study.cluster.environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
