"""Configs that share folders, and folders in every spelling, asked of Snakemake itself."""

import copy

import pytest
from changed_keys import dry_runs, finish
from small_study import SMALL


def with_source(results: str, **keys) -> dict:
    """The small study with its digits in a folder of image files."""
    config = copy.deepcopy(SMALL)
    config["datasets"]["digits"]["source"] = {"kind": "folder", "path": "images", **keys}
    return {**config, "results_dir": results}


@pytest.fixture
def pair(tmp_path) -> list[dict]:
    """Two configs, each with results of its own, whose datasets of one name have two sources."""
    (tmp_path / "images").mkdir()
    for name in ("a1.png", "b1.png"):
        (tmp_path / "images" / name).touch()
    return [with_source("one", include=["a*"]), with_source("other", include=["b*"])]


def test_two_configs_with_a_dataset_of_one_name_write_no_file_of_each_other(tmp_path, pair):
    one, other = (
        {output for _, _, outputs in jobs for output in outputs}
        for jobs in dry_runs(tmp_path, pair, "prepared")
    )
    assert one and other and not one & other


@pytest.mark.long  # three more starts of Snakemake
def test_two_configs_with_a_dataset_of_one_name_leave_each_other_finished(tmp_path, pair):
    for config in pair:
        finish(tmp_path, config, "prepared")
    assert dry_runs(tmp_path, pair, "prepared") == [[], []]


def test_results_may_lie_in_any_folder_in_any_spelling(tmp_path):
    folders = ("results", "results/", "./r", "r//b", f"{tmp_path}/there/", ".", "it's [mine] é")
    configs = [{**copy.deepcopy(SMALL), "results_dir": folder} for folder in folders]
    configs += [{**config, "resources_dir": config["results_dir"]} for config in configs]
    plain, *others = dry_runs(tmp_path, configs)
    assert isinstance(plain, list)
    assert [len(jobs) for jobs in others] == [len(plain)] * len(others)


@pytest.mark.long
@pytest.mark.parametrize("folder", [".", "./we$i'r*d [x]/"])
def test_a_whole_study_runs_with_results_in_any_folder(new_study, folder):
    new_study.config["results_dir"] = new_study.config["resources_dir"] = folder
    new_study.run()
    assert new_study.would_run() == {}
