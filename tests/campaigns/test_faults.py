"""Fifty kills over a training of the demo's size: `make test-all`."""

import pytest
import yaml
from places import REPOSITORY
from training_runs import (
    Run,
    assert_little_trained_twice,
    assert_same_outcome,
    kill_at_random,
    write_digits,
)

KILLS = 50

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("campaign")
    write_digits(path)
    return path


@pytest.mark.parametrize("gpus", [1, 2])
def test_fifty_kills_leave_the_weights_of_the_undisturbed_run(folder, gpus):
    demo = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    experiment = demo["experiments"]["digits"]
    last = experiment["train"].pop("steps")
    del experiment["train"]["run"]
    keys = {"train": experiment["train"], "model": experiment["model"]}
    undisturbed = Run(folder, f"undisturbed-{gpus}", how={"gpus": gpus}, **keys)
    undisturbed.complete(0, last, timeout=1800)
    run = Run(folder, f"killed-{gpus}", how={"gpus": gpus, "save_seconds": 1.0}, **keys)
    half_written = kill_at_random(run, last, KILLS, seed=gpus)
    print(f"{gpus} processes: {half_written} of {KILLS} kills left a half-written state;")
    print(f"{run.executed_steps()} steps were executed for {last}")
    assert half_written >= KILLS // 5
    assert_same_outcome(run, undisturbed, last)
    assert_little_trained_twice(run, last, KILLS)
