"""A job that needs more than it asked SLURM for: the user reads which, how much, what to raise."""

import re

from small_requests import small_requests

ASKED_MB = 900


def test_a_job_over_its_memory_says_what_to_raise_and_raising_it_mends_it(study):
    study.config["datasets"]["digits"]["image_size"] = 16
    study.experiment["model"]["dim"] = 32
    study.experiment["train"] |= {"steps": 2, "checkpoint_every": 2, "batch_size": 512}
    study.experiment["train"]["run"]["steps_per_job"] = 2
    study.options = [*small_requests(train={"mem_mb": ASKED_MB}), "--retries", "0"]
    printed = study.run("trained", succeeds=False)
    (job,) = study.jobs("train")
    line = next(line for line in printed.splitlines() if "ran out of memory" in line)
    assert line.startswith(
        f"train, experiment=small, first=00000000, last=00000002: SLURM job {job} ran out of "
        f"memory: mem_mb = {ASKED_MB} was asked for; raise set-resources: train: mem_mb in "
        "profiles/slurm/config.yaml"
    )
    assert re.search(r"log: results/logs/train/small\.00000000-00000002\.log", line)
    study.options = small_requests(train={"mem_mb": 5000})
    study.run("trained")
    assert (study.results / "training" / "job-00000000-00000002.json").exists()
