"""Samples whose weights `keep` has removed stay: no version, and no changed key, loses them."""

import copy
import json
from pathlib import Path

import pytest
from small_study import SMALL

from ddpm_bench.config.loading import check_config
from ddpm_bench.config.versions import VERSIONS
from ddpm_bench.errors import UserError
from ddpm_bench.files import write_json
from ddpm_bench.planning.jobs import all_sample_files
from ddpm_bench.planning.removed_weights import check_kept_samples
from ddpm_bench.planning.stages import sample_stage, trajectory_stage
from ddpm_bench.records.job_record import JobRecord, JobRecords
from ddpm_bench.records.layout import current_training, removed_weights


@pytest.fixture
def config(tmp_path):
    """A study with the samples of two checkpoints; the weights of step 20 are removed."""
    config = check_config({**copy.deepcopy(SMALL), "results_dir": str(tmp_path)})
    write_json(current_training(tmp_path, "small"), {"fingerprint": "f" * 16})
    write_json(removed_weights(tmp_path, "small", "f" * 16), {"step-00000020.safetensors": {}})
    for path in map(Path, all_sample_files(config, "small")):
        path.parent.mkdir(parents=True)
        path.touch()
    return config


def version(config, step: int) -> int:
    return json.loads(sample_stage(config, "small", "dpm4", step))["version"]


def test_the_version_of_samples_without_weights_is_that_of_the_samples(config):
    assert version(config, 40) == VERSIONS["sample"]
    assert version(config, 20) == 3, "of the last version without records"
    record = JobRecord(rule="sample", params={"what": {"version": 7}}, inputs={}, made="0")
    removed, kept = all_sample_files(config, "small")
    for path in (removed, kept):
        record.write(JobRecords(config.results_dir, "resources").file(path))
    assert version(config, 20) == 7
    assert version(config, 40) == VERSIONS["sample"]
    Path(removed).unlink()
    assert version(config, 20) == VERSIONS["sample"], "there is nothing to keep"


def test_sets_that_are_drawn_as_before_keep_their_version():
    raw = copy.deepcopy(SMALL)
    sets = {
        "ddim": {"scheduler": "ddim", "steps": 4},
        "small": {"scheduler": "ddpm", "steps": 4},
        "large": {"scheduler": "ddpm", "steps": 4, "variance": "fixed-large"},
        "heun": {"scheduler": "heun", "steps": 20},
    }
    raw["experiments"]["small"]["samples"] = {
        name: {"images": 8, "batch_size": 8, **keys} for name, keys in sets.items()
    }
    config = check_config(raw)
    versions = {
        name: json.loads(sample_stage(config, "small", name, 20))["version"] for name in sets
    }
    assert versions == {"ddim": 3, "small": 3, "large": 4, "heun": 4}
    assert json.loads(trajectory_stage(config, "small", "ddim"))["version"] == 1
    assert json.loads(trajectory_stage(config, "small", "large"))["version"] == 2


def test_samples_without_weights_are_not_lost_to_a_changed_key(config):
    removed, kept = all_sample_files(config, "small")
    check_kept_samples(config, [kept, f"{config.results_dir}/report/costs.csv"])
    with pytest.raises(UserError, match=r"samples\.dpm4: the samples of step 20 would be drawn"):
        check_kept_samples(config, [kept, removed])
    Path(removed).unlink()
    check_kept_samples(config, [kept, removed])
