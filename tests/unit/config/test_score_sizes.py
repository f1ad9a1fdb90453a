"""Keys of scores that need more images than there are: refused before a training, with both."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from places import REPOSITORY, SCRIPTS

from ddpm_bench.config.loading import check_config
from ddpm_bench.config.score_sizes import NeededImages, TrainJobRun, most_images
from ddpm_bench.errors import UserError
from ddpm_bench.planning import jobs
from ddpm_bench.planning.local_inputs import check_local_folders, local_listings
from ddpm_bench.training.needed_images import refuse_too_few_images

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())


def study(score: dict, images: int = 512, **dataset) -> dict:
    """Return the demo with a score with these keys, of sets of so many images."""
    raw = copy.deepcopy(DEMO)
    raw["datasets"]["digits"].update(dataset)
    raw["experiments"]["digits"]["scores"]["classifier"].update(score)
    for samples in raw["experiments"]["digits"]["samples"].values():
        samples["images"] = images
    return raw


def problems(raw: dict) -> str:
    with pytest.raises(UserError) as caught:
        check_config(raw)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "fits"),
    [("kid_subset_size", 512), ("isc_splits", 512), ("prc_neighborhood", 511)],
)
def test_a_key_beyond_the_images_of_a_set_is_refused_with_both_numbers(key, fits):
    assert check_config(study({key: fits}))
    text = problems(study({key: fits + 1}))
    assert (
        f"scores.classifier.{key} = {fits + 1} needs 513 images, and samples.dpm20 has 512" in text
    )


@pytest.mark.parametrize(
    ("key", "fits"),
    [("kid_subset_size", 1438), ("prc_neighborhood", 1437), ("density_neighborhood", 1437)],
)
def test_a_key_beyond_the_reference_of_a_standard_dataset_is_refused(key, fits):
    """Of 1,797 digits a fifth is held out."""
    assert check_config(study({key: fits}, images=5000))
    text = problems(study({key: fits + 1}, images=5000))
    assert f"experiments.digits.scores.classifier.{key} = {fits + 1} needs 1,439 images" in text
    assert "its reference (train) has 1,438" in text


def test_values_that_nobody_gave_are_left_to_the_tables():
    """Of 4 images, IS in 10 parts is empty with the reason, as ever."""
    assert check_config(study({}, images=4))
    assert "isc_splits = 10 needs 10 images, and" in problems(study({"isc_splits": 10}, images=4))


def test_reconstructions_are_images_of_a_set():
    raw = copy.deepcopy(DEMO)
    raw["autoencoders"] = {"vq": {
        "dataset": "digits", "model": {"name": "vqvae", "channels": 32},
        "train": {"steps": 100, "batch_size": 64, "checkpoint_every": 50},
        "reconstructions": {"images": 100},
        "scores": {"all": {"features": "classifier", "isc_splits": 101}},
    }}  # fmt: skip
    assert "scores.all.isc_splits = 101 needs 101 images, and reconstructions has 100" in problems(
        raw
    )


def test_images_of_a_dataset_are_bounded_before_it_is_prepared():
    config = check_config(study({}, source={"kind": "mnist"}, eval_fraction="published"))
    mnist = config.datasets["digits"]
    assert most_images(mnist) == {"train": 60_000, "eval": 10_000, "all": 70_000}
    folder = {"kind": "folder", "path": "x"}
    unknown = check_config(study({}, source=folder)).datasets["digits"]
    assert most_images(unknown) == {}
    assert most_images(unknown, 11) == {"train": 9, "eval": 11, "all": 11}


def test_files_of_a_folder_are_counted_before_anything_runs(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for index in range(10):
        (images / f"{index}.png").touch()
    raw = study({"kid_subset_size": 11}, source={"kind": "folder", "path": str(images)})
    raw["resources_dir"] = str(tmp_path / "resources")
    for check in (check_local_folders, local_listings):
        with pytest.raises(UserError, match=r"kid_subset_size = 11 needs 11 .*\(train\) has 8"):
            check(check_config(raw))
    raw["experiments"]["digits"]["scores"]["classifier"]["kid_subset_size"] = 8
    check_local_folders(check_config(raw))


def test_a_training_compares_them_with_the_prepared_images(tmp_path):
    config = check_config(study({"kid_subset_size": 9, "reference": "all"}))
    how = jobs.training_job_run(config, "digits")
    assert TrainJobRun.model_validate_json(how).settings() == config.trainings["digits"].train.run
    what = {"version": 1, "model": {"name": "unet"},
            "train": {"batch_size": 1, "checkpoint_every": 1}}  # fmt: skip
    np.save(tmp_path / "train.npy", np.zeros((5, 8, 8, 1), np.uint8))
    np.save(tmp_path / "eval.npy", np.zeros((3, 8, 8, 1), np.uint8))
    command = [sys.executable, "train.py", "--what", json.dumps(what), "--how", how, "--last", "1"]
    command += ["--dataset", tmp_path, "--experiment", tmp_path / "e", "--output", tmp_path / "o"]
    done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=False)
    assert done.stderr == (
        "error: experiments.digits.scores.classifier.kid_subset_size = 9 needs 9 images, and its "
        "reference (all) has 8; lower it, or add images\n"
    )
    assert done.returncode == 2 and not (tmp_path / "e").exists()


def test_an_empty_file_of_prepared_images_is_named(tmp_path):
    (tmp_path / "train.npy").touch()
    needed = NeededImages(key="kid_subset_size", value=9, images=9, split="train")
    with pytest.raises(UserError, match=r"train\.npy: cannot be read as an array .*; delete it"):
        refuse_too_few_images((needed,), tmp_path)


def test_a_run_without_such_keys_is_as_it_was():
    config = check_config(DEMO)
    assert json.loads(jobs.training_job_run(config, "digits")) == {
        "compile": False, "save_seconds": 30.0, "steps_per_job": 600,
    }  # fmt: skip
