"""Folders and files of a config: one spelling each, and what is refused by its key."""

import copy
import re
from pathlib import Path

import pytest
from small_study import SMALL

from ddpm_bench.config.loading import check_config
from ddpm_bench.errors import UserError
from ddpm_bench.runs.modules import under_prefix

FOLDERS = ("results_dir", "resources_dir")


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("key", FOLDERS)
@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("results", "results"),
        ("results/", "results"),
        ("./r", "r"),
        ("r//b/.", "r/b"),
        ("../r/", "../r"),
        ("a/../r", "a/../r"),  # a may be a link
        ("/data//r/", "/data/r"),
        ("my results", "my results"),
    ],
)
def test_a_folder_has_one_spelling(key, written, used):
    assert getattr(check_config({**SMALL, key: written}), key) == used


@pytest.mark.parametrize("written", [".", "./", "./."])
def test_the_working_folder_is_absolute(tmp_path, written):
    assert check_config({**SMALL, "results_dir": written}).results_dir == str(tmp_path)


@pytest.mark.parametrize("key", FOLDERS)
@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "is empty"),
        ("{x}", "has { and }, which Snakemake reads as a wildcard"),
        ("a<b>", "has < and >, which Snakemake reads"),
        ("a\0b", "text cannot have this character"),
        ("a\nb", "has a control character"),
        ("x" * 300, "has 300 bytes, and at most 255"),
        ("é" * 128, "has 256 bytes"),
        ("/dev/null", "/dev/null is no folder"),
        ("file/below", "file is no folder"),
        ("loop", "is a link that leads to no folder"),
        ("nowhere/below", "is a link that leads to no folder"),
        ("s3://bucket/r", "is an address"),
        ("./-r", "begins with -"),
    ],
)
def test_what_can_be_no_folder_is_refused_by_its_key(key, written, reason):
    Path("file").touch()
    Path("loop").symlink_to("loop")
    Path("nowhere").symlink_to("missing")
    with pytest.raises(UserError, match=rf"{key} = .*{re.escape(reason)}"):
        check_config({**SMALL, key: written})


@pytest.mark.parametrize(
    ("written", "reason"),
    [("{w}.pth", "has {w}, which"), ("w<1>.pth", "has <1>, which"), ("-w.pth", "write ./-w.pth")],
)
def test_files_that_jobs_cannot_name_are_refused_by_their_key(written, reason):
    config = copy.deepcopy(SMALL)
    weights = {"path": written, "sha256": "0" * 64, "name": "own"}
    config["experiments"]["small"]["scores"]["x"] = {"features": "inception", "weights": weights}
    where = r"experiments\.small\.scores\.x\.weights\.path = "
    with pytest.raises(UserError, match=rf"{where}.*{re.escape(reason)}"):
        check_config(config)


@pytest.mark.parametrize("written", ["w.pth", "./w//w.pth", "w{.pth", "/data/w 1.pth"])
def test_other_files_keep_their_spelling_which_snakemake_compares(written):
    config = copy.deepcopy(SMALL)
    weights = {"path": written, "sha256": "0" * 64, "name": "own"}
    config["experiments"]["small"]["scores"]["x"] = {"features": "inception", "weights": weights}
    found = check_config(config).experiments["small"].scores["x"].weights
    assert found.path == written


def test_a_prefix_of_a_module_is_put_before_a_name():
    config = check_config({**SMALL, "results_dir": "./r/"})
    assert under_prefix(config, "below//").results_dir == "below/r"
    with pytest.raises(UserError, match=r"results_dir = '\.': a prefix goes before the name"):
        under_prefix(check_config({**SMALL, "results_dir": "."}), "below/")
    with pytest.raises(UserError, match=r"results_dir = '\{x\}/r': has \{ and \}"):
        under_prefix(config, "{x}/")


def with_names(experiments: dict[str, tuple[str, str]]) -> dict:
    """The small study with a set of samples and a score of these names for each experiment."""
    own = SMALL["experiments"]["small"]
    found = {
        name: {
            **own,
            "samples": {samples: own["samples"]["dpm4"]},
            "scores": {score: own["scores"]["classifier"]},
        }
        for name, (samples, score) in experiments.items()
    }
    return {**copy.deepcopy(SMALL), "experiments": found}


def test_jobs_of_one_name_would_share_logs():
    with pytest.raises(UserError, match=r"'a' and 'b\.c', and 'a\.b' and 'c', both make 'a\.b\.c'"):
        check_config(with_names({"a.b": ("c", "s"), "a": ("b.c", "s")}))
    check_config(with_names({"a.b": ("c", "s"), "a": ("c.b", "s")}))


def test_names_that_make_too_long_a_name_of_a_file_are_refused_before_training():
    check_config(with_names({"e" * 80: ("s" * 80, "c" * 70)}))
    with pytest.raises(UserError, match="are longer than 230 characters together; shorten one"):
        check_config(with_names({"e" * 80: ("s" * 80, "c" * 80)}))
