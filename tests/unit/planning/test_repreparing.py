"""A dataset whose images on disk are of other keys is named before they are replaced."""

import copy

import pytest
from small_study import SMALL

from ddpm_bench.config.loading import check_config
from ddpm_bench.planning.retraining import repreparations
from ddpm_bench.records.datasets import DatasetSummary, SplitChecksums
from ddpm_bench.records.layout import dataset_summary


@pytest.mark.parametrize(
    ("image_size", "channels", "noted"),
    [
        (8, 1, None),
        (16, 1, "because image_size was 8, is 16. Where another config has these results"),
        (16, 3, "because image_size was 8, is 16; channels was 1, is 3."),
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
