"""The report of the GPU check: its table, its remedies and its file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ddpm_bench.errors import UserError
from ddpm_bench.gpu_check.part import Check, Part
from ddpm_bench.gpu_check.report import PartResult, Report, check_place_of_report, end_of_check
from ddpm_bench.gpu_check.request import CheckRequest

REQUEST = CheckRequest(Path("check.py"), (), 8.0, stand_ins=False, output=None, keep=None)
MACHINE = Part("machine", "about it", "module:function", 60, "the driver")
SPEED = Part("speed", "how fast", "module:function", 60, None)
RESULTS = [
    PartResult(
        MACHINE, 2.0, (Check("GPU", "pass", "Some GPU", numbers={"gpu": "Some (GPU) 80GB"}),)
    ),
    PartResult(
        SPEED,
        61.6,
        (
            Check("training", "fail", "1.2 times", "look at the shares of the step"),
            Check("sampling", "measured", "2.5 times"),
        ),
    ),
]


def lines(stand_ins: bool) -> list[str]:
    return list(end_of_check(RESULTS, stand_ins, Path("check.json")))


def test_the_table_counts_outcomes_and_remedies_follow():
    table = lines(stand_ins=False)
    assert table[1].split() == ["part", "seconds", "pass", "fail", "measured", "not", "run"]
    assert table[2].split() == ["machine", "2", "1"]
    assert table[3].split() == ["speed", "62", "1", "1"]
    assert "speed: fail      training: 1.2 times" in table
    assert "    what to do: look at the shares of the step" in table
    assert table[-1] == "1 check failed, 0 not run, 3 checks in all; check.json"


def test_what_stand_ins_do_not_show_is_listed_with_them_only():
    with_stand_ins = lines(stand_ins=True)
    assert "  machine: the driver" in with_stand_ins
    assert "  speed: anything" in with_stand_ins
    assert not any("Stand-ins" in line for line in lines(stand_ins=False))


def written(request: CheckRequest) -> Report:
    report = Report(request)
    for result in RESULTS:
        report.add(result)
    return report


def test_the_file_is_named_by_gpu_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(REQUEST).path
    assert path.parent == Path("reports")
    assert path.name.startswith("gpu-check-some-gpu-80gb-2")
    report = json.loads(path.read_text())
    assert report["machine"] == {"gpu": "Some (GPU) 80GB"}
    assert report["stand_ins"] is False
    assert [part["name"] for part in report["parts"]] == ["machine", "speed"]
    assert report["parts"][1]["checks"][0]["remedy"] == "look at the shares of the step"


def test_checks_that_end_in_the_same_second_have_files_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {written(REQUEST).path for _ in range(3)}
    assert sorted(Path("reports").iterdir()) == sorted(paths)
    assert len(paths) == 3


def test_the_file_holds_the_parts_so_far(tmp_path):
    report = Report(replace(REQUEST, output=tmp_path / "new" / "check.json"))
    report.add(RESULTS[0])
    assert [part["name"] for part in json.loads(report.path.read_text())["parts"]] == ["machine"]


def test_a_place_that_takes_no_file_is_refused_before_the_check(tmp_path):
    (tmp_path / "file").write_text("")
    request = replace(REQUEST, output=tmp_path / "file" / "check.json")
    with pytest.raises(UserError, match=r"the report cannot be written there .*--output FILE"):
        check_place_of_report(request)


def test_an_error_in_writing_ends_no_check_and_is_raised_at_its_end(tmp_path):
    report = Report(replace(REQUEST, output=tmp_path / "folder" / "check.json"))
    (tmp_path / "folder").write_text("in the way")
    report.add(RESULTS[0])
    assert report.results == RESULTS[:1]
    with pytest.raises(UserError, match="the report cannot be written there"):
        report.raise_unless_written()
    (tmp_path / "folder").unlink()
    report.add(RESULTS[1])
    report.raise_unless_written()
