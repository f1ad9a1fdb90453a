"""A sampling job that runs out of time: what it has drawn stays, and another draws the rest."""

import re

from conftest import take_datasets


def test_a_sampling_out_of_time_is_sent_again_and_draws_only_what_is_missing(
    study, prepared, slurm
):
    take_datasets(prepared, study.folder)
    study.experiment["train"].update(steps=20)
    study.experiment["samples"]["dpm4"].update(images=400)
    study.ask_for_training()
    sample = {"slurm_partition": "gpu", "mem_mb": 2000, "runtime": 1}
    study.options[-2:-2] = [f"sample:{name}={value}" for name, value in sample.items()]
    study.options[-1] = "1"  # retries
    main = study.start("sampled")
    folder = study.results / "samples" / "dpm4" / "step-00000020"
    study.wait_for(lambda: list(folder.glob(".batch-*.npz")), 240)
    (job,) = study.jobs("sample")
    sampler = study.process(job, "sample.py")
    sampler.suspend()
    slurm.run("scancel", "--signal=USR1", str(job))  # it does not ask for this warning
    study.wait_for(lambda: study.jobs("sample")[job] == "TIMEOUT", 180)
    assert main.wait(600) == 0, study.printed()
    assert sorted(study.jobs("sample").values()) == ["COMPLETED", "TIMEOUT"]
    (log,) = (study.folder / "results" / "logs" / "sample").glob("*.log")
    assert re.search(r"found \d+ of 50 batches of 8 images from before", log.read_text())
