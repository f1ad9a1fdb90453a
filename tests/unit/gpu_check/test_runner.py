"""Parts of the GPU check run on their own: no failure of one hides another."""

import json
import os
import signal
from pathlib import Path

import broken_parts
import psutil
import pytest

from ddpm_bench.errors import UserError
from ddpm_bench.gpu_check import runner
from ddpm_bench.gpu_check.request import CheckRequest
from ddpm_bench.machine.gpu_listing import present_devices


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
        "torn": ["pass", "fail"],
        "endless": ["pass", "fail"],
        "only_on_gpus": ["not run"],
    }
    assert rows["refused"][1]["found"] == "GPU 0: out of memory"
    assert rows["broken"][1]["found"] == "ZeroDivisionError: division by zero"
    assert rows["killed"][1]["found"] == "ended with status -9: last words"
    assert rows["endless"][1]["found"] == "did not end within 4 s"
    assert all(row["remedy"] for checks in rows.values() for row in checks[1:])


@pytest.mark.parametrize("name", ["child", "orphan"])
def test_a_part_that_is_ended_leaves_no_process(checked, name):
    child = int((checked[0] / "kept" / name).read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"


def test_ctrl_c_ends_the_part_and_the_report_holds_all_rows_so_far(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "PARTS", broken_parts.STOPPED)
    assert runner.check_gpu(request(tmp_path)) == 130
    report = json.loads((tmp_path / "check.json").read_text())
    rows = {part["name"]: [row["outcome"] for row in part["checks"]] for part in report["parts"]}
    assert rows == {"good": ["pass"], "stopping": ["pass", "not run"]}
    assert "stopping: the check was stopped" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_parts_see_the_leased_gpu_whatever_the_user_has_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DDPM_BENCH_DEVICES", "3,5")
    monkeypatch.setenv("DDPM_BENCH_DEVICE_LOCKS", str(tmp_path / "locks"))
    with runner._devices(False, tmp_path / "first"):
        assert present_devices() == ["3"]
    assert present_devices() == ["3", "5"]


def test_a_number_that_is_not_finite_is_null_in_the_report(checked):
    good = checked[2]["parts"][0]["checks"][0]
    assert good["numbers"] == {"speed": 2.0, "loss": None}


def test_the_environment_is_as_before_afterwards(checked):
    assert "DDPM_BENCH_STAND_IN_GPUS" not in os.environ


def test_parts_that_share_run_side_by_side_and_end_no_programs_of_the_other(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(runner, "PARTS", broken_parts.SHARING)
    monkeypatch.setattr(runner, "usable_cores", lambda wanted: wanted)
    assert runner.check_gpu(request(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "2 at a time: quick, slow" in printed
    assert printed.index("[2/3] quick") < printed.index("[3/3] slow")
    report = json.loads((tmp_path / "check.json").read_text())
    assert [part["name"] for part in report["parts"]] == ["good", "quick", "slow"]


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


def test_a_part_that_the_whole_time_cuts_off_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "FEWEST_SECONDS", 0)
    monkeypatch.setattr(runner, "PARTS", (broken_parts.part(broken_parts.endless),))
    assert runner.check_gpu(request(tmp_path, minutes=0.02)) == 0
    report = json.loads((tmp_path / "check.json").read_text())
    last = report["parts"][0]["checks"][-1]
    assert (last["outcome"], last["remedy"]) == ("not run", "run it alone: --parts endless")
