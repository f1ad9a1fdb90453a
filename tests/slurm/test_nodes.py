"""Several processes, on one node and on two, train what one process trains."""

from pathlib import Path

import pytest
from conftest import Study, take_datasets
from safetensors.numpy import load_file
from training_runs import relative_difference

STEPS = 200
ROUNDING = 1e-5  # relative, of the order in which gradients are summed


@pytest.fixture(scope="module")
def folder(tmp_path_factory, prepared) -> Path:
    folder = tmp_path_factory.mktemp("nodes")
    take_datasets(prepared, folder / "prepared")
    return folder


def of_processes(slurm, folder: Path, gpus: int, nodes: int, steps: int = STEPS) -> Study:
    study = Study(folder / f"{nodes}x{gpus}-{steps}", slurm)
    take_datasets(folder / "prepared", study.folder)
    study.experiment["train"].update(steps=steps, checkpoint_every=steps)
    study.experiment["train"]["run"].update(steps_per_job=steps, gpus=gpus, nodes=nodes)
    study.ask_for_training()
    return study


def weights(results: Path) -> dict:
    return load_file(results / "small" / "checkpoints" / f"step-{STEPS:08}.safetensors")


@pytest.fixture(scope="module")
def one_process(slurm, folder) -> dict:
    """What one process trains, without SLURM."""
    study = of_processes(slurm, folder, 1, 1)
    assert study.start_locally(folder / "local", "trained").wait(300) == 0
    return weights(folder / "local" / "results")


def test_two_processes_on_one_node_train_the_same(slurm, folder, one_process):
    study = of_processes(slurm, folder, gpus=2, nodes=1)
    study.run("trained", timeout=300)
    assert node_counts(study) == {1}
    ours = weights(study.results.parent)
    assert 0 < relative_difference(ours, one_process) < ROUNDING


def test_two_nodes_warned_in_the_middle_train_the_same(slurm, folder, one_process):
    study = of_processes(slurm, folder, gpus=2, nodes=2)
    main = study.start("trained")
    study.wait_until_trained()
    (job,) = study.jobs("train")
    assert node_counts(study) == {2}
    slurm.run("scancel", "--signal=USR1", str(job))  # as SLURM does before the wall time is over
    assert main.wait(300) == 0, study.printed()

    assert study.restarts(job) == 1
    (first, middle), (again, last) = study.executed_steps()
    assert (first, last) == (0, STEPS) and middle == again
    ours = weights(study.results.parent)
    assert 0 < relative_difference(ours, one_process) < ROUNDING


def test_a_cancelled_training_on_two_nodes_is_saved_and_not_sent_again(slurm, folder):
    study = of_processes(slurm, folder, gpus=2, nodes=2, steps=100 * STEPS)
    study.experiment["train"]["run"].update(save_seconds=1000)
    main = study.start("trained")
    reported = study.wait_until_trained()
    (job,) = study.jobs("train")
    slurm.run("scancel", str(job))
    assert main.wait(300) != 0
    assert study.jobs("train") == {job: "CANCELLED"}
    ((first, stopped),) = study.executed_steps()
    assert first == 0 and stopped >= reported
    (state,) = (study.results / "training").glob("*/state/step-*")
    assert state.name == f"step-{stopped:08}"


def node_counts(study: Study) -> set[int]:
    """Numbers of nodes of the study's training jobs."""
    job_ids = ",".join(str(job) for job in study.jobs("train"))
    shown = study.cluster.run("squeue", "--noheader", "--states=all", f"--jobs={job_ids}", "-o%D")
    return {int(line) for line in shown.split()}
