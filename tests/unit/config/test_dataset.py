"""The keys of a dataset: what is refused, and what makes its images stale."""

import json

import pytest
import yaml
from places import REPOSITORY

from ddpm_bench.config.loading import check_config
from ddpm_bench.errors import UserError
from ddpm_bench.planning import stages

DEMO = (REPOSITORY / "config" / "config.yaml").read_text()


def with_dataset(**keys):
    """The demo's config with a folder of images in place of its dataset."""
    raw = yaml.safe_load(DEMO)
    source = {"kind": "folder", "path": "images"}
    raw["datasets"]["digits"] = {"source": source, "image_size": 16, "channels": 1} | keys
    raw["experiments"]["digits"]["scores"] = {}
    return raw


def test_a_value_range_makes_the_images_stale_and_its_default_does_not():
    texts = [
        json.loads(stages.prepare_stage(check_config(with_dataset(**keys)), "digits"))
        for keys in ({}, {"value_range": None}, {"value_range": [0, 4095]})
    ]
    assert texts[0] == texts[1]
    assert texts[2]["value_range"] == [0, 4095]
    assert "value_range" not in texts[0]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"value_range": [1, 0]}, r"no room between black and white; give the lower number first"),
        ({"value_range": [0, float("inf")]}, "value_range"),
        ({"value_range": [0]}, "value_range"),
        (
            {"value_range": [0, 1], "source": {"kind": "mnist"}},
            "value_range: has no effect on mnist, of 8 bits; remove it",
        ),
    ],
)
def test_a_value_range_without_meaning_is_refused(keys, said):
    with pytest.raises(UserError, match=said):
        check_config(with_dataset(**keys))
