"""The main snakemake is killed while its jobs run: what its user reads, and what goes on."""

import os
import re
import shlex
import signal
import subprocess

from small_requests import small_requests

from ddpm_bench.files import read_json, sha256

STEPS = 6000
JOB = f"job-00000000-{STEPS:08}.json"


def test_two_trainers_never_write_one_state_and_stop_and_the_same_command_recover(study):
    study.options = small_requests()
    study.experiment["train"] |= {"steps": STEPS, "checkpoint_every": STEPS // 2}
    study.experiment["train"]["run"] |= {"steps_per_job": STEPS, "save_seconds": 600}
    study.run("prepared", "--executor", "local", "--cores", "1")
    main = study.start("trained")
    study.wait_for(lambda: any(event["event"] == "trained" for event in study.events()), 300)
    os.killpg(main.pid, signal.SIGKILL)
    main.wait()
    (left,) = study.jobs("train")

    # The same command refuses, and says what comes first.
    refused = study.run("trained", succeeds=False, log="refused.log")
    remedy = re.search(r"first: (.*stop\.py .*)", refused)[1]

    # Who takes the lock away by force starts a second trainer: it does not touch the first one's.
    study.run("--unlock", log="unlocked.log")
    second = study.run("trained", "--retries", "0", succeeds=False, log="forced.log")
    assert re.search(rf"train, experiment=small, .* is being trained by .*SLURM job {left}", second)
    assert study.jobs("train")[left] == "RUNNING"

    stopped = subprocess.run(
        shlex.split(remedy),
        cwd=study.folder,
        env=study.cluster.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "RUNNING" not in study.jobs("train").values()
    study.run("trained", log="recovered.log")

    (first, saved), last = study.executed_steps()
    assert first == 0 < saved < STEPS
    assert last == (saved, STEPS)  # no step was lost, none was trained twice
    checkpoints = read_json(study.results / "training" / JOB)["checkpoints"]
    assert [entry["step"] for entry in checkpoints] == [STEPS // 2, STEPS]
    for entry in checkpoints:
        path = study.results / "checkpoints" / f"step-{entry['step']:08}.safetensors"
        assert sha256(path) == entry["sha256"]
