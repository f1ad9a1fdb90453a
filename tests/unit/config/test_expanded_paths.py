"""Paths of a config and of the command line: `~` and variables, and what is missing."""

import argparse
import copy
from pathlib import Path

import pytest
import yaml
from places import REPOSITORY
from pydantic import AfterValidator

from ddpm_bench.cli import local_path
from ddpm_bench.config.block import Block
from ddpm_bench.config.loading import check_config, frozen_config
from ddpm_bench.config.paths import PATH_KEYS
from ddpm_bench.errors import UserError
from ddpm_bench.files import expanded_path
from ddpm_bench.planning.local_inputs import check_local_files, check_local_folders

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
SHA256 = "0" * 64


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.delenv("UNSET", raising=False)
    return tmp_path


def study(**changes) -> dict:
    """Return the demo with a folder of images in place of its dataset, and these other changes."""
    raw = copy.deepcopy(DEMO)
    raw["datasets"]["digits"]["source"] = {"kind": "folder", "path": "~/images"}
    raw.update(changes)
    return raw


def with_all_paths(start: str) -> dict:
    """Return a config with a value for each key that is a path, below `start`."""
    raw = study(results_dir=f"{start}/results", resources_dir=f"{start}/resources")
    raw["datasets"]["digits"]["source"]["path"] = f"{start}/images"
    experiment = raw["experiments"]["digits"]
    experiment["train"]["init_from"] = {"path": f"{start}/model.pt", "sha256": SHA256}
    experiment["scores"]["inception"] = {
        "features": "inception",
        "weights": {"path": f"{start}/weights.pth", "sha256": SHA256, "name": "mine"},
        "fid_statistics": {"path": f"{start}/statistics.npz", "name": "theirs"},
    }
    raw["benchmark"] = {"models": {"own": {"name": "own", "path": f"{start}/own.py"}}}
    return raw


def texts(value) -> list[str]:
    """Return all texts of parsed data."""
    if isinstance(value, dict):
        return [text for inside in value.values() for text in texts(inside)]
    if isinstance(value, list | tuple):
        return [text for inside in value for text in texts(inside)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("start", ["~", "$HOME", "${HOME}", "$SCRATCH/.."])
def test_every_path_of_a_config_may_begin_with_home_or_a_variable(home, start):
    config = check_config(with_all_paths(start))
    where = str(home) if start != "$SCRATCH/.." else f"{home}/scratch/.."
    found = [text for text in texts(config.model_dump()) if text.startswith(where)]
    assert sorted(Path(text).name for text in found) == [
        "images", "model.pt", "own.py", "resources", "results", "statistics.npz", "weights.pth",
    ]  # fmt: skip


def test_every_key_with_a_path_is_expanded():
    """A key of these names, in whatever block, has the type that expands it."""
    blocks, seen = [Block], set()
    while blocks:
        block = blocks.pop()
        seen.add(block)
        for name, field in block.model_fields.items():
            if name in PATH_KEYS:
                assert AfterValidator(expanded_path) in field.metadata, (block, name)
        blocks += [one for one in block.__subclasses__() if one not in seen]


def test_paths_written_out_are_left_as_they_are(home):
    for path in ("results", "./r", "r//b", "/data/a b", "a~b", "US$5", "..", "a$"):
        assert expanded_path(path) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$UNSET/x", "results_dir = '$UNSET/x': the environment variable UNSET is not set; set it"),
        ("a/${UNSET}", "the environment variable UNSET is not set"),
        ("~nobody-here/x", "there is no user 'nobody-here'"),
    ],
)
def test_a_path_that_cannot_be_expanded_is_refused_by_key(home, path, expected):
    with pytest.raises(UserError) as caught:
        check_config(study(results_dir=path))
    assert expected in str(caught.value)


def test_jobs_elsewhere_get_the_paths_of_here(home, monkeypatch):
    frozen = frozen_config(with_all_paths("$SCRATCH"), home)
    monkeypatch.setenv("SCRATCH", "/elsewhere")
    config = check_config(yaml.safe_load(frozen.read_text()))
    assert config.results_dir == f"{home}/scratch/results"
    assert config.datasets["digits"].source.path == f"{home}/scratch/images"


def test_missing_and_empty_folders_and_files_are_named_with_their_absolute_path(home):
    config = check_config(study())
    with pytest.raises(UserError) as caught:
        check_local_folders(config)
    wanted = f"datasets.digits.source.path = '{home}/images': is no folder; give an existing one"
    assert str(caught.value) == wanted
    (home / "images").mkdir()
    with pytest.raises(UserError, match=r"/images': no file matches include .* it has 0 files"):
        check_local_folders(config)
    (home / "images" / "a.png").touch()
    check_local_folders(config)
    with pytest.raises(UserError, match=f"init_from.path = '{home}/scratch/model.pt'|own.py'"):
        check_local_files(check_config(with_all_paths("$SCRATCH")))


def test_a_relative_folder_is_named_with_the_folder_it_is_looked_for_in(home, monkeypatch):
    monkeypatch.chdir(home)
    raw = study()
    raw["datasets"]["digits"]["source"]["path"] = "photos"
    with pytest.raises(UserError, match=f"source.path = '{home}/photos': is no folder"):
        check_local_folders(check_config(raw))


def test_a_path_on_the_command_line_is_expanded_too(home):
    assert local_path("~/my.yaml") == home / "my.yaml"
    with pytest.raises(argparse.ArgumentTypeError, match="variable UNSET is not set"):
        local_path("$UNSET/my.yaml")


@pytest.mark.parametrize(
    ("path", "include", "refused"),
    [
        (".", ["**/*"], True),
        (".", ["**/*.png"], True),
        ("..", ["**/*"], True),
        (".", ["photos/**"], False),
        (".", ["*.png"], False),
        ("photos", ["**/*"], False),
    ],
)
def test_the_pictures_of_a_study_are_no_images_of_its_dataset(
    tmp_path, monkeypatch, path, include, refused
):
    work = tmp_path / "work"
    for folder in (work, work / "photos"):
        folder.mkdir()
        (folder / "a.png").touch()
    monkeypatch.chdir(work)
    raw = copy.deepcopy(DEMO)
    raw["datasets"]["digits"]["source"] = {"kind": "folder", "path": path, "include": include}
    config = check_config(raw)
    if refused:
        with pytest.raises(UserError, match=r"source\.path = .*: results_dir lies in it"):
            check_local_folders(config)
    else:
        check_local_folders(config)


def test_paths_of_an_outer_workflow_that_cannot_be_expanded_stay_as_they_are(home):
    outer = {"diffusion": with_all_paths("$SCRATCH"), "reads": {"path": "$NOT_SET/{sample}.fq"}}
    frozen = yaml.safe_load(frozen_config(outer, home).read_text())
    assert frozen["reads"] == outer["reads"]
    assert "$" not in frozen["diffusion"]["results_dir"]
