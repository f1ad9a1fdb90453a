"""scancel of one job: the run ends with that job named, others finish, the next run goes on."""

import copy

from small_requests import small_requests

STEPS = 400


def test_a_cancelled_job_is_named_not_sent_again_and_goes_on_in_the_next_run(study):
    study.options = small_requests()
    study.experiment["train"] |= {"steps": STEPS, "checkpoint_every": STEPS}
    study.experiment["train"]["run"] |= {"steps_per_job": STEPS, "save_seconds": 1}
    other = study.config["experiments"]["other"] = copy.deepcopy(study.experiment)
    other["train"]["seed"] = 1
    study.run("prepared", "--executor", "local", "--cores", "1")

    main = study.start("trained")
    study.wait_for(lambda: any(event["event"] == "state saved" for event in study.events()), 300)
    (job,) = [job for job, name in training_jobs(study).items() if name == "small"]
    study.cluster.run("scancel", str(job))
    assert main.wait(600) == 1, study.printed()

    printed = study.printed()
    name = f"train, experiment=small, first=00000000, last={STEPS:08}"
    assert f"{name}: SLURM job {job} was cancelled; the next run of snakemake goes on" in printed
    assert len(training_jobs(study)) == 2  # `retries` of the profile did not send it again
    assert (study.folder / f"results/other/training/job-00000000-{STEPS:08}.json").exists()

    study.run("trained")
    events = [(event["event"], event["step"]) for event in study.events() if "step" in event]
    (resumed,) = [step for event, step in events if event == "resumed"]
    before = events[: events.index(("resumed", resumed))]
    # A state may be whole and its line in the log not yet written.
    assert max(step for event, step in before if event == "state saved") <= resumed < STEPS
    assert study.executed_steps() == [(resumed, STEPS)]  # what was cancelled has not reported


def training_jobs(study) -> dict[int, str]:
    """Experiment of each training job that this folder has sent to SLURM, by the job's number."""
    table = study.cluster.run("squeue", "--noheader", "--states=all", "--format=%i|%k|%Z")
    rows = [line.split("|", 2) for line in table.splitlines()]
    return {
        int(number): comment.removeprefix("rule_train_wildcards_").split("_")[0]
        for number, comment, folder in rows
        if folder == str(study.folder) and comment.startswith("rule_train_wildcards_")
    }
