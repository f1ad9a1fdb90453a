"""A training that is longer than its job: SLURM warns, it is saved, and the same job goes on."""

import signal
from pathlib import Path

import psutil
from conftest import take_datasets

RUNTIME_MINUTES = 2
WARNING_SECONDS = 60  # before the end, and up to 30 more, says SLURM
STEPS = 300
TIMES = 2  # that the wall time ends, at least


def test_a_training_longer_than_its_wall_time_ends_with_no_human_and_no_step_twice(
    study, prepared, tmp_path
):
    take_datasets(prepared, study.folder)
    study.experiment["train"].update(steps=STEPS, checkpoint_every=STEPS // 2)
    study.experiment["train"]["run"].update(steps_per_job=STEPS, save_seconds=1000)
    study.ask_for_training(
        runtime=RUNTIME_MINUTES, slurm_extra=f"'--signal=USR1@{WARNING_SECONDS}'"
    )
    undisturbed = study.start_locally(tmp_path / "local", "trained")
    main = study.start("trained")
    for time in range(TIMES):
        seen = len(study.events())
        study.wait_for(lambda seen=seen: study.events()[seen + 1 :])
        (job,) = study.jobs("train")
        hold_until_warned(study, study.process(job))
        study.wait_for(lambda time=time: len(study.executed_steps()) > time)

    # One SLURM job, sent into the queue again by itself: the workflow has seen no failure.
    assert main.wait(600) == 0, study.printed()
    assert study.jobs("train") == {job: "COMPLETED"}
    # Nothing but the warning saved: all steps are there, and none was trained twice.
    stretches = study.executed_steps()
    assert study.restarts(job) == len(stretches) - 1 >= TIMES
    ends = [last for _, last in stretches]
    assert [first for first, _ in stretches] == [0, *ends[:-1]]
    assert ends[-1] == STEPS
    saved = [event["step"] for event in study.events() if event["event"] == "state saved"]
    assert saved == ends

    assert undisturbed.wait(600) == 0
    checkpoints = sorted((study.results / "checkpoints").iterdir())
    assert [path.name[:13] for path in checkpoints] == ["step-00000150", "step-00000300"]
    for path in checkpoints:
        local = tmp_path / "local" / "results" / "small" / "checkpoints" / path.name
        assert path.read_bytes() == local.read_bytes()


def hold_until_warned(study, trainer: psutil.Process) -> None:
    """Stop a program until SLURM's warning has come to it, so that it is longer than its job on
    machines of any speed."""
    trainer.suspend()
    study.wait_for(lambda: is_pending(trainer.pid, signal.SIGUSR1), 150)
    trainer.resume()


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a signal has been sent to a process that has not dealt with it (proc(5), ShdPnd)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (pending,) = [line.split()[1] for line in lines if line.startswith("ShdPnd:")]
    return bool(int(pending, 16) >> (number - 1) & 1)
