"""What a run leaves behind, and at which checkpoint its samplers are compared."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from places import REPOSITORY

from ddpm_bench.config.loading import check_config
from ddpm_bench.planning import targets
from ddpm_bench.records import layout

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())


def config(**sets):
    """The demo, with other sets of samples: its checkpoints are 300, 600, 900, 1200."""
    raw = copy.deepcopy(DEMO)
    raw["experiments"]["digits"]["samples"] = sets
    return check_config(raw)


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        # all at the latest
        ({"a": {"images": 64}, "b": {"images": 64}}, (1200, ["a", "b"])),
        # where most are, though it is not the latest
        (
            {
                "a": {"images": 64, "checkpoints": [600]},
                "b": {"images": 64, "checkpoints": [300, 600]},
                "c": {"images": 64, "checkpoints": "latest"},
            },
            (600, ["a", "b"]),
        ),
        # equally many images only
        (
            {"a": {"images": 64}, "b": {"images": 512, "checkpoints": "latest"},
             "c": {"images": 512, "checkpoints": "latest"}},
            (1200, ["b", "c"]),
        ),
        # of equally many sets the one with more images
        ({"a": {"images": 64}, "b": {"images": 512, "checkpoints": "latest"}}, (1200, ["b"])),
    ],
)  # fmt: skip
def test_samplers_are_compared_where_most_sets_of_equal_size_are(sets, expected):
    assert targets.compared_sets(config(**sets), "digits") == expected


def test_the_timings_of_the_compared_sets_alone_are_read():
    checked = config(a={"images": 64, "checkpoints": "latest"}, b={"images": 64})
    folder = "results/digits/samples"
    assert targets.compared_timings(checked, "digits") == [
        f"{folder}/{name}/step-00001200/images-000000-000063.json" for name in "ab"
    ]


def test_a_run_leaves_something_to_look_at_of_each_set_and_score():
    report = Path("results/digits/report")
    made = {Path(path) for path in targets.targets(config(a={"images": 64}, b={"images": 64}))}
    for name in (
        "samples_over_training.a.png", "samples_over_training.a.gif", "denoising.b.gif",
        "closest_pairs.classifier.b.png", "Quality_vs_SecondsPerImage.png",
        "sampler_comparison.csv", "steps_to_quality.csv", "Memorising_vs_TrainingSteps.png",
    ):  # fmt: skip
        assert report / name in made


def test_a_set_of_one_checkpoint_has_no_pictures_over_training():
    made = targets.targets(config(a={"images": 64, "checkpoints": "latest"}))
    assert not [path for path in made if "samples_over_training" in path]
    assert "results/digits/report/denoising.a.gif" in made


def test_an_experiment_without_samples_compares_no_samplers():
    assert not [path for path in targets.targets(config()) if "Quality" in path]


def test_names_with_dots_are_told_apart_in_one_file_name():
    pattern = targets.alternatives(["a", "a.b", "c"])
    found = re.fullmatch(rf"({pattern})\.({pattern})\.png", "a.b.c.png")
    assert found.groups() == ("a.b", "c")
    assert re.fullmatch(targets.alternatives([]), "a") is None


def test_the_first_checkpoints_have_figures_only_where_there_are_more():
    raw = copy.deepcopy(DEMO)
    digits = raw["experiments"]["digits"]
    digits["train"] |= {"steps": 2500, "checkpoint_every": 100}
    digits["samples"] = {"a": {"images": 64, "checkpoints": "all"}}
    assert targets.score_figures(check_config(raw), "digits") == layout.SCORE_FIGURES
    digits["train"]["steps"] = 2600
    made = targets.targets(check_config(raw))
    for name in layout.FIRST_FIGURES:
        assert f"results/digits/report/{name}" in made
    digits["scores"] = {}
    assert targets.score_figures(check_config(raw), "digits") == layout.SCORE_FIGURES
