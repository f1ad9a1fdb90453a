"""A training that is longer than its job: SLURM warns, it is saved, and the same job goes on."""

RUNTIME_MINUTES = 2
WARNING_SECONDS = 60  # and up to 30 more, SLURM says
STEPS = 3000


def test_a_training_longer_than_its_wall_time_ends_with_no_human_and_no_step_twice(study, tmp_path):
    study.experiment["train"].update(steps=STEPS, checkpoint_every=STEPS // 2)
    study.experiment["train"]["run"].update(steps_per_job=STEPS, save_seconds=1000)
    study.ask_for_training(
        runtime=RUNTIME_MINUTES, slurm_extra=f"'--signal=USR1@{WARNING_SECONDS}'"
    )
    undisturbed = study.start_locally(tmp_path / "local", "trained")
    study.run("trained", timeout=900)

    # One SLURM job, sent into the queue again by itself: the workflow has seen no failure.
    (job,) = study.jobs("train")
    stretches = study.executed_steps()
    assert study.restarts(job) == len(stretches) - 1 >= 1
    # Nothing but the warning saved: all steps are there, and none was trained twice.
    assert [first for first, _ in stretches] == [0, *(last for _, last in stretches[:-1])]
    assert stretches[-1][1] == STEPS
    saved = [event["step"] for event in study.events() if event["event"] == "state saved"]
    assert saved == [last for _, last in stretches]

    assert undisturbed.wait(900) == 0
    checkpoints = sorted((study.results / "checkpoints").iterdir())
    assert [path.name[:13] for path in checkpoints] == ["step-00001500", "step-00003000"]
    for path in checkpoints:
        local = tmp_path / "local" / "results" / "small" / "checkpoints" / path.name
        assert path.read_bytes() == local.read_bytes()
