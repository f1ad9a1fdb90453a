"""A node dies under a training; or only its daemon, and the training lives on beside the next."""

import json
from pathlib import Path

import psutil
import pytest
from conftest import take_datasets

STEPS = 600


@pytest.fixture
def training(study, prepared):
    take_datasets(prepared, study.folder)
    study.experiment["train"].update(steps=STEPS, checkpoint_every=STEPS // 3)
    study.experiment["train"]["run"].update(steps_per_job=STEPS, save_seconds=1)
    study.ask_for_training()
    return study


def node_of(study, job: int) -> str:
    return study.cluster.run("squeue", "--noheader", f"--jobs={job}", "--format=%N")


def test_a_training_moves_to_another_node_when_its_own_dies(training, slurm):
    main = training.start("trained")
    training.wait_for(lambda: [e for e in training.events() if e["event"] == "state saved"])
    (job,) = training.jobs("train")
    died = node_of(training, job)
    slurm.kill_node(died)
    training.wait_for(lambda: [e for e in training.events() if e["event"] == "resumed"], 240)
    assert node_of(training, job) not in ("", died)
    assert main.wait(600) == 0, training.printed()
    assert training.jobs("train") == {job: "COMPLETED"}
    slurm.start_node(died)
    training.assert_went_on_from_its_last_state(STEPS)


def test_when_only_the_daemon_dies_the_old_trainer_makes_way_for_the_new(training, slurm, tmp_path):
    undisturbed = training.start_locally(tmp_path / "local", "trained")
    main = training.start("trained")
    training.wait_for(lambda: [e for e in training.events() if e["event"] == "state saved"])
    (job,) = training.jobs("train")
    left, old = node_of(training, job), training.process(job)
    slurm.kill_node_daemon(left)
    old.suspend()  # as a slow training that is in the middle when the next one comes
    training.wait_for(lambda: list((training.results / "training").glob("owner.*.leave")), 300)
    old.resume()
    training.wait_for(lambda: [e for e in training.events() if e["event"] == "resumed"])
    assert node_of(training, job) not in ("", left)
    assert main.wait(600) == 0, training.printed()

    # The old one saved, on request, before the new one went on: no step was trained twice.
    names = [event["event"] for event in training.events() if "steps_executed" in event]
    assert names == ["stopped for a trainer that follows", "job ended"]
    (first, middle), (again, last) = training.executed_steps()
    assert (first, last) == (0, STEPS) and middle == again
    assert training.jobs("train") == {job: "COMPLETED"}
    # It must not end as a failed job, whose outputs its Snakemake would remove: it waits for SLURM.
    assert old.is_running() and old.status() != psutil.STATUS_ZOMBIE
    slurm.start_node(left)
    gone, _ = psutil.wait_procs([old], timeout=120)
    assert gone == [old]
    # Nor may the Snakemakes above it, which end as of a failed job, remove what the new one wrote.
    training.wait_for(lambda: not slurm.processes_of_node(left))
    assert undisturbed.wait(600) == 0
    assert_whole(training, tmp_path / "local" / "results" / "small")


def assert_whole(study, undisturbed: Path) -> None:
    """The manifest is there, and all that it names is that of an undisturbed run, to the bit."""
    (path,) = (study.results / "training").glob("job-*.json")
    other = undisturbed / "training" / path.name
    assert json.loads(path.read_text()) == json.loads(other.read_text())
    checkpoints = sorted((undisturbed / "checkpoints").iterdir())
    assert len(checkpoints) == 3
    for checkpoint in checkpoints:
        ours = study.results / "checkpoints" / checkpoint.name
        assert ours.read_bytes() == checkpoint.read_bytes()
