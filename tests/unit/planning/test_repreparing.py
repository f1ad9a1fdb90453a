"""A dataset whose images on disk are of other keys is named before they are replaced."""

import copy
import json

import pytest
from small_study import SMALL

from ddpm_bench.config.loading import check_config
from ddpm_bench.planning.retraining import repreparations
from ddpm_bench.planning.stages import prepare_stage
from ddpm_bench.records.datasets import DatasetSummary, SplitChecksums
from ddpm_bench.records.job_record import JobRecord, JobRecords
from ddpm_bench.records.layout import dataset_summary, prepared_images


@pytest.mark.parametrize(
    ("image_size", "channels", "noted"),
    [
        (8, 1, None),
        (16, 1, "because image_size was 8, is 16. Where another config has these results"),
        (16, 3, "because channels was 1, is 3; image_size was 8, is 16."),
    ],
)
def test_two_configs_that_share_results_are_told_of_each_other(
    tmp_path, image_size, channels, noted
):
    counts = dict.fromkeys(
        ("files", "train", "eval", "distinct", "grayscale_to_rgb", "rgb_to_grayscale"), 1
    )
    hashes = SplitChecksums(train="0" * 64, eval="0" * 64)
    summary = DatasetSummary(
        **counts, left_out={}, labels={}, image_size=8, channels=1, sha256=hashes
    )
    summary.write(dataset_summary(tmp_path, "digits"))
    config = copy.deepcopy({**SMALL, "results_dir": str(tmp_path)})
    config["datasets"]["digits"] |= {"image_size": image_size, "channels": channels}
    notes = repreparations(check_config(config))
    assert (len(notes) == 1 and noted in notes[0]) if noted else notes == []


def test_every_key_is_compared_where_the_images_have_a_record(tmp_path):
    raw = copy.deepcopy({**SMALL, "results_dir": str(tmp_path)})
    config = check_config(raw)
    images = prepared_images(tmp_path, "digits", "train")
    images.parent.mkdir(parents=True)
    params = {"what": json.loads(prepare_stage(config, "digits"))}
    path = JobRecords(str(tmp_path), "resources").file(str(images))
    JobRecord(rule="prepare", params=params, inputs={}, made="0").write(path)
    assert repreparations(config) == []
    raw["datasets"]["digits"] |= {"split_seed": 3}
    (note,) = repreparations(check_config(raw))
    assert "because split_seed was at its default, is 3." in note
