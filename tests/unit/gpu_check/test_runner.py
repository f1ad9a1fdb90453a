"""Parts of the GPU check run on their own: no failure of one hides another."""

import json
import os
from pathlib import Path

import broken_parts
import psutil
import pytest

from ddpm_bench.errors import UserError
from ddpm_bench.gpu_check import runner
from ddpm_bench.gpu_check.request import CheckRequest


def request(tmp_path, **changed) -> CheckRequest:
    given = {
        "program": Path(broken_parts.__file__),
        "parts": (),
        "minutes": 5.0,
        "stand_ins": True,
        "output": tmp_path / "check.json",
        "keep": tmp_path / "kept",
    }
    return CheckRequest(**given | changed)


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Run all broken parts; return the folder, the exit status and the report."""
    folder = tmp_path_factory.mktemp("check")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "PARTS", broken_parts.PARTS)
        status = runner.check_gpu(request(folder))
    return folder, status, json.loads((folder / "check.json").read_text())


def test_all_parts_run_whatever_happens_to_those_before(checked):
    _, status, report = checked
    rows = {part["name"]: part["checks"] for part in report["parts"]}
    assert status == 1
    outcomes = {name: [row["outcome"] for row in checks] for name, checks in rows.items()}
    assert outcomes == {
        "good": ["pass"],
        "refused": ["pass", "fail"],
        "broken": ["pass", "fail"],
        "killed": ["pass", "fail"],
        "endless": ["pass", "fail"],
        "only_on_gpus": ["not run"],
    }
    assert rows["refused"][1]["found"] == "GPU 0: out of memory"
    assert rows["broken"][1]["found"] == "ZeroDivisionError: division by zero"
    assert rows["killed"][1]["found"] == "ended with status -9: last words"
    assert rows["endless"][1]["found"] == "did not end within 4 s"
    assert all(row["remedy"] for checks in rows.values() for row in checks[1:])


def test_a_part_that_is_ended_leaves_no_process(checked):
    child = int((checked[0] / "kept" / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"


def test_a_number_that_is_not_finite_is_null_in_the_report(checked):
    good = checked[2]["parts"][0]["checks"][0]
    assert good["numbers"] == {"speed": 2.0, "loss": None}


def test_the_environment_is_as_before_afterwards(checked):
    assert "DDPM_BENCH_STAND_IN_GPUS" not in os.environ


def test_parts_that_find_no_time_are_named_with_the_way_to_run_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "PARTS", broken_parts.PARTS[:1])
    assert runner.check_gpu(request(tmp_path, minutes=0.1)) == 0
    printed = capsys.readouterr().out
    assert "not run   good: the 0.1 minutes were over (--minutes)" in printed
    assert "--parts good" in printed
    assert "no check failed, 1 not run" in printed


@pytest.mark.parametrize(
    ("changed", "environment", "message"),
    [
        ({"minutes": 0.0}, {}, "--minutes 0: must be above 0"),
        ({"keep": Path("/")}, {}, "--keep /: it exists; name a new folder"),
        ({"output": Path("/etc/passwd")}, {}, "--output /etc/passwd: it exists"),
        (
            {"stand_ins": False},
            {"CUDA_VISIBLE_DEVICES": ""},
            "CUDA_VISIBLE_DEVICES= hides all GPUs",
        ),
        ({"stand_ins": False}, {"PATH": ""}, "no GPU is found: nvidia-smi lists none"),
    ],
)
def test_bad_requests_are_refused_before_any_part(
    tmp_path, monkeypatch, changed, environment, message
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("ddpm_bench.machine.gpu_listing.nvidia_devices", list)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as refused:
        runner.check_gpu(request(tmp_path, **changed))
    assert message in str(refused.value)
    assert not (tmp_path / "kept").exists()
