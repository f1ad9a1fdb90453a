"""The controller goes away during a run, and the config is edited: the run ends as it began."""

import time

import pytest
from conftest import Study
from small_requests import small_requests

AWAY_SECONDS = 20
STEPS = 1000
# Over what the file says, and for jobs too.
OVERRIDE = ["--config", "experiments={small: {train: {learning_rate: 2e-4}}}"]


@pytest.fixture(scope="module")
def study(tmp_path_factory, slurm) -> Study:
    """A finished run of two training jobs; the second one began after both faults."""
    made = Study(tmp_path_factory.mktemp("run") / "study", slurm)
    made.options = small_requests()
    made.experiment["train"] |= {"steps": STEPS, "checkpoint_every": STEPS // 2}
    made.experiment["train"]["run"]["steps_per_job"] = STEPS // 2
    made.run("prepared", "--executor", "local", "--cores", "1", *OVERRIDE)
    main = made.start("trained", *OVERRIDE, "--verbose")
    made.wait_for(lambda: any(event["event"] == "trained" for event in made.events()), 300)
    planned = made.config_file.read_text()
    made.config_file.write_text(planned.replace("batch_size: 16", "batch_size: 17"))
    assert made.folder.joinpath("config.yaml").read_text() != planned
    made.cluster.stop_controller()
    made.wait_for(lambda: "could not check status of job" in made.printed(), 300)
    time.sleep(AWAY_SECONDS)
    made.cluster.start_controller()
    assert main.wait(600) == 0, made.printed()
    return made


def test_no_poll_turns_to_sacct_which_never_answers_without_accounting(study):
    assert "Falling back to 'sacct'" not in study.printed()
    assert study.printed().count("Trying to restart job") == 0
    assert study.executed_steps() == [(0, STEPS // 2), (STEPS // 2, STEPS)]


def test_jobs_kept_the_config_that_the_run_began_with(study):
    assert len(list((study.results / "training").glob("*/progress.jsonl"))) == 1
    assert len(list((study.folder / "results" / "logs" / "config").iterdir())) == 1
    # What was trained is what the file, with the override, asks for: nothing is stale.
    assert "Nothing to be done" in study.run("trained", *OVERRIDE, "--dry-run", log="dry.log")
