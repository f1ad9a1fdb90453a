"""A training that SLURM sends away, and one that it may not send into the queue again."""

import pytest
from cluster import Shape
from conftest import take_datasets

STEPS = 600


@pytest.fixture(scope="module")
def shape() -> Shape:
    """A cluster on which a job of the partition `urgent` takes the nodes of others."""
    lines = (
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        "PartitionName=urgent Nodes=ALL MaxTime=1-0 PriorityTier=10 State=UP",
    )
    return Shape(lines=lines)


@pytest.fixture
def training(study, prepared):
    take_datasets(prepared, study.folder)
    study.experiment["train"].update(steps=STEPS, checkpoint_every=STEPS)
    study.experiment["train"]["run"].update(steps_per_job=STEPS, save_seconds=1)
    study.ask_for_training()
    return study


def test_a_preempted_training_goes_on_once_the_nodes_are_free(training, slurm):
    main = training.start("trained")
    training.wait_until_trained()
    (job,) = training.jobs("train")
    training.wait_for(lambda: [e for e in training.events() if e["event"] == "state saved"])
    urgent = ["--partition=urgent", "--nodes=2", "--gpus=4", "--exclusive", "--output=/dev/null"]
    training.process(job).suspend()  # it is not to end before SLURM has found the nodes
    slurm.run("sbatch", *urgent, "--wrap=sleep 10")
    assert main.wait(600) == 0, training.printed()
    assert training.jobs("train") == {job: "COMPLETED"}
    assert training.restarts(job) == 1
    training.assert_went_on_from_its_last_state(STEPS)


def test_where_a_job_may_not_be_sent_again_the_workflow_sends_another(training, slurm):
    training.experiment["train"]["run"]["gpus"] = 2
    training.ask_for_training(slurm_extra="'--no-requeue'")
    training.options[-1] = "1"  # retries
    main = training.start("trained")
    training.wait_until_trained()
    (job,) = training.jobs("train")
    slurm.run("scancel", "--signal=USR1", str(job))  # as SLURM does before the wall time is over
    assert main.wait(600) == 0, training.printed()
    assert sorted(training.jobs("train").values()) == ["COMPLETED", "FAILED"]
    (log,) = (training.folder / ".snakemake" / "slurm_logs").glob(f"rule_train/*/{job}.log")
    assert f"SLURM job {job} cannot be sent into the queue again: " in log.read_text()
    (first, middle), (again, last) = training.executed_steps()
    assert (first, last) == (0, STEPS) and middle == again
