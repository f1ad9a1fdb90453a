"""Fetched files lie where their dataset's name and source say; those of earlier versions stay."""

import base64
import copy
import json
from pathlib import Path

import pytest
from small_study import SMALL

from ddpm_bench.config.loading import check_config
from ddpm_bench.planning.fetched_files import datasets_by_fetched_name, fetched_file, fetched_name
from ddpm_bench.records.job_record import InputFile, JobRecord, JobRecords

GIT = {"kind": "git", "url": "file:///shapes", "commit": "1" * 40}
OTHER = {**GIT, "commit": "2" * 40}


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def config_with(source, name="digits", **keys):
    config = copy.deepcopy(SMALL)
    config["datasets"] = {name: {**config["datasets"]["digits"], "source": source}}
    config["experiments"]["small"]["dataset"] = name
    return check_config({**config, **keys})


def fetched_before(kind="git", source=None, name="digits"):
    """Leave what an earlier version left: a record, and where a source is given Snakemake's."""
    record = Path("resources", "datasets", f"{name}.json")
    record.parent.mkdir(parents=True, exist_ok=True)
    marker = {"kind": kind, "folder": str(record.with_suffix("")), "files": 2, "sha256": "0" * 64}
    record.write_text(json.dumps(marker))
    if source is not None:
        what = json.dumps({"source": source, "version": 1})
        place = base64.urlsafe_b64encode(str(record).encode()).decode()
        metadata = Path(".snakemake", "metadata", place)
        metadata.parent.mkdir(parents=True, exist_ok=True)
        metadata.write_text(json.dumps({"params": [repr(str(marker["folder"])), repr(what)]}))


def prepared_before():
    summary = Path("results", "datasets", "digits", "summary.json")
    summary.parent.mkdir(parents=True)
    summary.write_text("{}")


def test_two_sources_of_one_name_have_files_each():
    one, other = (fetched_name(config_with(source), "digits") for source in (GIT, OTHER))
    assert one != other
    assert one.startswith("digits-") and other.startswith("digits-")
    assert one == fetched_name(config_with({**GIT, "include": ["**/*"]}), "digits")


def test_a_name_that_ends_in_json_takes_no_place_of_another():
    config = config_with(GIT)
    sources = {**config.datasets, "digits.json": config.datasets["digits"]}
    both = config.model_copy(update={"datasets": sources})
    places = {fetched_file(both, name) for name in sources}
    assert len(places | {place.with_suffix("") for place in places}) == 4
    assert list(datasets_by_fetched_name(both).values()) == ["digits", "digits.json"]


def test_relative_folders_of_two_working_folders_are_two_sources(tmp_path, monkeypatch):
    names = set()
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        config = config_with({"kind": "folder", "path": "images"}, resources_dir="/shared")
        names.add(fetched_name(config, "digits"))
    assert len(names) == 2


@pytest.mark.parametrize(
    ("source", "kind", "recorded", "stays"),
    [
        (GIT, "git", GIT, True),
        (GIT, "git", OTHER, False),
        (GIT, "folder", None, False),
        (GIT, "git", None, False),  # nothing was prepared from it: it may be of any source
        ({"kind": "mnist"}, "mnist", None, True),
    ],
)
def test_files_of_an_earlier_version_stay_where_they_are_of_the_source(
    source, kind, recorded, stays
):
    fetched_before(kind, recorded)
    assert (fetched_name(config_with(source), "digits") == "digits") is stays


def test_files_that_a_dataset_was_prepared_from_stay_without_snakemakes_records():
    fetched_before()
    prepared_before()
    assert fetched_name(config_with(GIT), "digits") == "digits"


def test_a_name_stays_once_files_lie_under_it():
    fetched_before()
    config = config_with(GIT)
    fetched_file(config, "digits").write_text("{}")
    prepared_before()
    assert fetched_name(config, "digits") != "digits"


def test_files_of_an_earlier_version_that_were_deleted_after_preparing_are_not_fetched_again():
    fetched_before(source=GIT)
    Path("resources/datasets/digits.json").unlink()
    assert fetched_name(config_with(GIT), "digits") == "digits"
    assert fetched_name(config_with(OTHER), "digits") != "digits"


def test_results_of_an_earlier_version_without_its_downloads_are_not_prepared_anew():
    images = Path("results", "datasets", "digits", "train.npy")
    images.parent.mkdir(parents=True)
    JobRecord(
        rule="prepare",
        params={"what": {"kind": "git", "version": 1}},
        inputs={"resources/datasets/digits.json": InputFile(size=262)},
        made="0",
    ).write(JobRecords("results", "resources").file(str(images)))
    assert fetched_name(config_with(GIT), "digits") == "digits"
    assert fetched_name(config_with({"kind": "mnist"}), "digits") != "digits"
    assert fetched_name(config_with(GIT, name="others"), "others") != "others"
