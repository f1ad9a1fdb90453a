"""The folders of a module's config below its prefix."""

import pytest
from small_studies import sweep
from small_study import SMALL

from ddpm_bench.config.loading import check_config
from ddpm_bench.errors import UserError
from ddpm_bench.runs.modules import _register, under_prefix


@pytest.mark.parametrize(
    ("given", "expected"),
    [("results", "below/results"), ("/data/results", "/data/results"), ("../there", "../there")],
)
def test_a_prefix_moves_relative_folders_as_snakemake_does(given, expected):
    config = check_config({**SMALL, "results_dir": given, "resources_dir": given})
    moved = under_prefix(config, "below/")
    assert (moved.results_dir, moved.resources_dir) == (expected, expected)
    assert under_prefix(config, "") == config


def test_sweeps_stay_with_a_config_under_a_prefix():
    config = check_config(sweep())
    moved = under_prefix(config, "below/")
    assert moved.sweeps == config.sweeps and list(moved.sweeps) == ["small"]
    assert list(moved.trainings) == list(config.trainings)


def test_modules_write_the_folder_of_downloads_that_they_share_alike(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configs = {}

    def used(name, resources):
        folders = {"results_dir": name, "resources_dir": resources}
        _register(configs, name, check_config({**SMALL, **folders}))

    used("one", "downloads")
    used("other", "downloads")
    used("third", "elsewhere")
    with pytest.raises(UserError, match="modules one and fourth name one resources_dir in two"):
        used("fourth", str(tmp_path / "downloads"))
