"""Kills over a training of the demo's size, at each point where its files change and at random
instants: `make test-all`."""

from itertools import takewhile

import pytest
import yaml
from places import REPOSITORY
from training_runs import (
    Run,
    assert_little_trained_twice,
    assert_same_outcome,
    go_on,
    kill_at_points,
    kill_at_random,
    points_of,
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
def test_kills_leave_the_weights_of_the_undisturbed_run(folder, gpus):
    demo = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    experiment = demo["experiments"]["digits"]
    last = experiment["train"].pop("steps")
    del experiment["train"]["run"]
    keys = {"train": experiment["train"], "model": experiment["model"]}
    undisturbed = Run(folder, f"undisturbed-{gpus}", how={"gpus": gpus}, **keys)
    points = points_of(undisturbed, last, timeout=1800)
    run = Run(folder, f"killed-{gpus}", how={"gpus": gpus, "save_seconds": 1e-6}, **keys)
    before_the_end = list(takewhile(lambda point: "job-" not in point, points))
    half_written = kill_at_points(run, last, before_the_end)
    within = [point for point in points if "/state/.step-#.#.partial/" in point]
    assert half_written >= len(within) >= 2
    kills = kill_at_random(run, last, KILLS, seed=gpus)
    print(f"{gpus} processes: {kills} kills at random instants, {len(points)} at points;")
    print(f"{run.executed_steps()} steps were executed for {last}")
    go_on(run, undisturbed, last, last + 50)
    assert_same_outcome(run, undisturbed, last + 50)
    assert_little_trained_twice(run, last + 50, kills + len(points))
