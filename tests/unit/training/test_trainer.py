"""Exact resume and no lost work, shown by real training processes."""

import json
import os
import signal
import sys

import numpy as np
import pytest
from places import SCRIPTS
from safetensors.numpy import load_file
from training_runs import (
    COUNTED,
    Run,
    assert_little_trained_twice,
    assert_same_outcome,
    go_on,
    kill_at_points,
    kill_at_random,
    points_of,
    relative_difference,
    wait_until,
    write_dataset,
)

from ddpm_bench.files import read_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("trainings")
    write_dataset(path)
    return path


@pytest.fixture(scope="module")
def undisturbed(folder):
    """240 steps in one go."""
    run = Run(folder, "undisturbed")
    run.complete_here(0, 240)
    return run


@pytest.fixture(scope="module")
def two_processes(folder):
    run = Run(folder, "two", train={"learning_rate": 1e-4}, how={"gpus": 2})
    run.complete(0, 100)
    return run


def interrupt(run: Run, last: int, number: int, states: int = 2) -> int:
    """Start a job, send a signal once it has saved `states` states; returns its exit status."""
    process = run.start(0, last)
    wait_until(lambda: len(run.states()) >= states, process)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


EVERY_STEP = {"save_seconds": 1e-6}  # a state is saved after each step, whatever the clock says


def test_a_run_killed_wherever_its_files_change_ends_as_if_undisturbed(folder):
    """Before, within and after each write: of its state, checkpoints, manifest, metrics, progress
    and owner."""
    undisturbed = Run(folder, "pointed", how=EVERY_STEP)
    points = points_of(undisturbed, 40)
    for written in (
        "training/#/state/step-#", "checkpoints/step-#.safetensors", "training/job-#-#.json",
        "metrics.csv", "progress.jsonl", "training/owner.json", "training/current.json",
    ):  # fmt: skip
        assert f"rename {written}" in points
    run = Run(folder, "killed-at-points", how=EVERY_STEP)
    half_written = kill_at_points(run, 40, points)
    within = [point for point in points if "/state/.step-#.#.partial/" in point]
    assert half_written >= len(within) >= 2, "while a state was being written"
    run.complete(0, 40)
    assert run.manifest(0, 40).read_bytes() == undisturbed.manifest(0, 40).read_bytes()
    go_on(run, undisturbed, 40, 60)
    assert_same_outcome(run, undisturbed, 60)
    assert_little_trained_twice(run, 60, kills=len(points))


def test_a_run_killed_at_random_instants_ends_as_if_undisturbed(folder):
    undisturbed = Run(folder, "undisturbed-100")
    undisturbed.complete_here(0, 100)
    run = Run(folder, "killed", how=EVERY_STEP)
    kills = kill_at_random(run, 100, kills=3, seed=0)
    assert run.manifest(0, 100).read_bytes() == undisturbed.manifest(0, 100).read_bytes()
    go_on(run, undisturbed, 100, 120)
    assert_same_outcome(run, undisturbed, 120)
    assert_little_trained_twice(run, 120, kills)


def test_two_processes_killed_where_what_they_train_is_published_end_as_if_undisturbed(folder):
    one = {"learning_rate": 1e-4}
    undisturbed = Run(folder, "two-pointed", train=one, how={"gpus": 2, **EVERY_STEP})
    points = points_of(undisturbed, 20)
    run = Run(folder, "two-killed-at-points", train=one, how={"gpus": 2, **EVERY_STEP})
    published = [point for point in points if point.startswith(("rename training/#", "rename c"))]
    assert len(published) == 4, "state, checksum, checkpoint, and the link to it"
    assert kill_at_points(run, 20, published) >= 1, "while a state was being written"
    run.complete(0, 20)
    go_on(run, undisturbed, 20, 40)
    assert_same_outcome(run, undisturbed, 40)
    assert_little_trained_twice(run, 40, kills=len(published))


def test_two_processes_killed_at_random_instants_end_as_if_undisturbed(folder):
    undisturbed = Run(folder, "two-100", train={"learning_rate": 1e-4}, how={"gpus": 2})
    undisturbed.complete(0, 100)
    how = {"gpus": 2, **EVERY_STEP}
    run = Run(folder, "two-killed", train={"learning_rate": 1e-4}, how=how)
    kills = kill_at_random(run, 100, kills=2, seed=1)
    go_on(run, undisturbed, 100, 120)
    assert_same_outcome(run, undisturbed, 120)
    assert_little_trained_twice(run, 120, kills)


def test_a_signal_saves_and_leaves_and_nothing_is_trained_twice(folder, undisturbed):
    run = Run(folder, "stopped", how={"save_seconds": 0.2})
    assert interrupt(run, 240, signal.SIGTERM) == 75
    stopped = run.events("stopped by a signal")[0]
    assert read_json(run.states()[-1] / "state.json")["step"] == stopped["step"]
    run.complete_here(0, 240)
    executed = stopped["steps_executed"] + run.events("job ended")[0]["steps_executed"]
    assert executed == 240
    assert run.checkpoint_bytes(240) == undisturbed.checkpoint_bytes(240)


def test_two_jobs_end_with_the_weights_of_one(folder, undisturbed):
    run = Run(folder, "two-jobs")
    run.complete_here(0, 120)
    run.complete_here(120, 240)
    assert run.events("resumed")[0]["step"] == 120
    assert run.checkpoint_bytes(240) == undisturbed.checkpoint_bytes(240)
    names = [entry["step"] for entry in read_json(run.manifest(120, 240))["checkpoints"]]
    assert names == list(range(140, 241, 20))


def test_a_lost_manifest_comes_back_without_a_step(folder, undisturbed):
    manifest = undisturbed.manifest(0, 240)
    before = manifest.read_bytes()
    manifest.unlink()
    (undisturbed.results / "checkpoints" / "step-00000120.safetensors").unlink()
    starts = len(undisturbed.events("started") + undisturbed.events("resumed"))
    undisturbed.complete_here(0, 240)
    assert manifest.read_bytes() == before
    assert undisturbed.checkpoint_bytes(120)
    assert len(undisturbed.events("started") + undisturbed.events("resumed")) == starts


def test_more_frequent_checkpoints_come_from_the_same_training(folder, undisturbed):
    run = Run(folder, "denser", train={"checkpoint_every": 100})
    run.complete_here(0, 120)
    kept = run.checkpoint_bytes(100)
    denser = Run(folder, "denser", train={"checkpoint_every": 20})
    denser.complete_here(0, 120)
    assert denser.checkpoint_bytes(100) == kept
    # The metadata of a checkpoint names the config that made it, so compare the weights.
    ours, theirs = denser.weights(60), undisturbed.weights(60)
    assert relative_difference(ours, theirs) == 0.0


def test_processes_and_micro_batches_may_change_in_the_middle(folder, two_processes):
    """1 -> 2 -> 1 processes: the weights of one process, but for the order of sums.

    Gradients travel once per step, not once per micro-batch.
    """
    one = Run(folder, "one", train={"learning_rate": 1e-4})
    one.complete_here(0, 100)
    how = [{}, {"gpus": 2, "micro_batch_size": 2}, {"micro_batch_size": 4}]
    for keys, first, last in zip(how, (0, 40, 80), (40, 80, 100), strict=True):
        elastic = Run(folder, "elastic", train={"learning_rate": 1e-4}, how=keys)
        elastic.program = COUNTED
        assert "Grad strides" not in elastic.complete(first, last)  # DDP warns of an odd layout
    assert elastic.executed_steps() == 100
    assert elastic.counter.with_name("elastic.steps.reductions").stat().st_size == 40
    assert 0 < relative_difference(elastic.weights(100), one.weights(100)) < 1e-5
    assert 0 < relative_difference(two_processes.weights(100), one.weights(100)) < 1e-5


def test_two_processes_stopped_by_a_signal_go_on_exactly(folder, two_processes):
    how = {"gpus": 2, "save_seconds": 0.1}
    run = Run(folder, "two-stopped", train={"learning_rate": 1e-4}, how=how)
    assert interrupt(run, 100, signal.SIGTERM, states=1) == 75
    run.complete(0, 100)
    assert run.events("resumed")[0]["step"] < 100
    assert run.checkpoint_bytes(100) == two_processes.checkpoint_bytes(100)


def truncate(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def change_a_counter(path) -> None:
    text = path.read_text()
    assert text.count('"skipped": 0') == 1
    path.write_text(text.replace('"skipped": 0', '"skipped": 1'))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("tensors.safetensors", truncate),
        ("tensors.safetensors", flip_a_bit),
        ("tensors.safetensors", os.remove),
        ("state.json", truncate),
        ("state.json", os.remove),
        ("state.json", change_a_counter),
        ("metrics.csv", os.remove),
    ],
)
def test_damaged_states_are_named_and_the_one_before_is_used(
    folder, undisturbed, file, damage, tmp_path
):
    run = Run(folder, tmp_path.name, how={"save_seconds": 1e-6})
    run.complete_here(0, 60)
    before, last = run.states()[-2:]
    assert (before.name, last.name) == ("step-00000059", "step-00000060")
    damage(last / file)
    run.how = {}
    printed = run.complete_here(60, 80)
    assert f"warning: state {last} is damaged (" in printed
    assert run.events("resumed")[0]["step"] == 59
    assert run.checkpoint_bytes(80) == undisturbed.checkpoint_bytes(80)


def test_a_loss_that_is_not_finite_stops_with_advice_and_keeps_the_last_finite_state(folder):
    run = Run(folder, "diverging", train={"learning_rate": 1e30}, how={"save_seconds": 1e-6})
    process = run.start(0, 100)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "error: training of diverging diverged" in printed
    assert "Try a learning_rate below 1e+30" in printed
    assert "Traceback" not in printed
    assert not run.manifest(0, 100).exists()
    tensors = load_file(run.states()[-1] / "tensors.safetensors")
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


def test_an_error_in_one_of_two_processes_is_one_clear_message_too(folder):
    run = Run(folder, "two-diverging", train={"learning_rate": 1e30}, how={"gpus": 2})
    process = run.start(0, 100)
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "error: training of two-diverging diverged" in printed
    assert "Traceback" not in printed


def launched(folder, name: str, how: dict, launcher: list[str], number: int) -> tuple[Run, int]:
    """Start a job, signal its whole group or its launcher once a state is saved, see it leave.

    Returns the run and the launcher's exit status.
    """
    run = Run(folder, name, how={"save_seconds": 0.1, **how})
    process = run.start(0, 4000, launcher)
    wait_until(lambda: len(run.states()) > 0, process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # Ctrl-C reaches everything that a shell has started
    else:
        process.send_signal(number)
    _, printed = process.communicate(timeout=60)  # until all who hold its stderr have ended
    assert "stopped by a signal; the state of step" in printed
    (stopped,) = run.events("stopped by a signal")
    assert stopped["step"] < 4000
    assert read_json(run.states()[-1] / "state.json")["step"] == stopped["step"]
    return run, process.returncode


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_signal_to_the_whole_group_as_rules_run_it_saves_and_leaves(folder, gpus):
    log = folder / f"group{gpus}.log"
    launcher = [str(SCRIPTS / "with_log"), str(log), sys.executable]
    _, status = launched(folder, f"group{gpus}", {"gpus": gpus}, launcher, signal.SIGINT)
    assert status == 75
    assert "train group" in log.read_text()


def test_under_torchrun_a_signal_saves_once_and_leaves_and_the_next_start_goes_on(folder):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    run, _ = launched(folder, "torchrun", {"gpus": 2}, launcher, signal.SIGTERM)
    stopped = run.events("stopped by a signal")[0]["step"]
    last = (stopped // 20 + 1) * 20
    run.how = {"gpus": 2}
    run.complete(0, last)
    assert run.events("resumed")[0]["step"] == stopped


def test_under_accelerate_launch_a_signal_saves_and_leaves(folder):
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    _, status = launched(folder, "accelerate", {}, launcher, signal.SIGUSR1)
    assert status != 0, "the launcher reports that its program has not finished"


def test_a_second_trainer_is_told_who_trains(folder):
    run = Run(folder, "owned", how={"save_seconds": 0.2})
    first = run.start(0, 100000)
    try:
        wait_until(lambda: len(run.states()) > 0, first)
        second = run.start(0, 100000)
        _, printed = second.communicate(timeout=60)
        assert second.returncode == 2
        assert f"being trained by process {first.pid} on " in printed
    finally:
        first.kill()
        first.communicate()


def test_another_config_trains_anew_and_sets_the_old_checkpoints_aside(folder):
    run = Run(folder, "changed")
    run.complete_here(0, 40)
    before = run.checkpoint_bytes(40)
    other = Run(folder, "changed", train={"learning_rate": 2e-3})
    printed = other.complete_here(0, 20)
    assert "the configuration of changed has changed" in printed
    assert [path.name for path in (run.results / "checkpoints").iterdir()] == [
        "step-00000020.safetensors"
    ]
    name = json.loads(run.manifest(0, 40).read_text())["fingerprint"]
    kept = run.results / "training" / name / "checkpoints" / "step-00000040.safetensors"
    assert kept.read_bytes() == before
    # Back to the first config: everything is still there, no step is trained.
    run.manifest(0, 40).unlink()
    run.complete_here(0, 40)
    assert run.checkpoint_bytes(40) == before


def test_what_a_killed_trainer_left_half_written_is_removed(folder):
    run = Run(folder, "leftovers")
    state = run.results / "training" / "0123456789abcdef" / "state" / ".step-00000010.7.partial"
    checkpoint = run.results / "checkpoints" / ".step-00000010.7.partial.safetensors"
    drawing = run.results / "samples" / ".images-000000-000007.7.partial.npy"  # not the trainer's
    for path in (state / "tensors.safetensors", checkpoint, drawing):
        path.parent.mkdir(parents=True)
        path.touch()
    run.complete_here(0, 20)
    assert not state.exists() and not checkpoint.exists()
    assert drawing.exists()


def test_a_job_without_a_checkpoint_leaves_all_to_the_next(folder):
    run = Run(folder, "no-checkpoint", train={"checkpoint_every": 40})
    run.complete_here(0, 20)
    assert read_json(run.manifest(0, 20))["checkpoints"] == []
    run.complete_here(20, 40)
    assert run.events("job ended")[0]["steps_executed"] == 40
    assert [entry["step"] for entry in read_json(run.manifest(20, 40))["checkpoints"]] == [40]


def test_checkpoints_can_be_read_by_whom_the_umask_allows(undisturbed, tmp_path):
    checkpoint = undisturbed.results / "checkpoints" / "step-00000240.safetensors"
    (tmp_path / "usual").touch()
    assert checkpoint.stat().st_mode == (tmp_path / "usual").stat().st_mode
