"""How a study stands, told from files alone."""

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fake_results
import pytest
import yaml
from places import COMMANDS, REPOSITORY

from ddpm_bench.config.loading import check_config
from ddpm_bench.errors import UserError
from ddpm_bench.planning import jobs
from ddpm_bench.records.progress_log import read_attempts
from ddpm_bench.runs import main_process, slurm_queue
from ddpm_bench.runs.dashboard import dashboard, duration
from ddpm_bench.runs.job_failures import newest_failures
from ddpm_bench.runs.overview import overview

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
LOGS = Path("results/logs")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The demo, in a folder of its own, on a machine without SLURM: 1,200 steps in two jobs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm_queue, "has_slurm", lambda: False)
    jobs.look_again()
    yield check_config(DEMO)
    jobs.look_again()


def state(config):
    jobs.look_again()
    (experiment,) = overview(config, Path("config.yaml"), Path()).experiments
    return experiment


def train(*events: dict, began: datetime | None = None) -> None:
    """progress.jsonl with these events, ten seconds apart."""
    began = began or datetime.now(UTC) - timedelta(seconds=10 * len(events))
    path = Path("results/digits/progress.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {"time": (began + timedelta(seconds=10 * index)).isoformat(), **event}
        for index, event in enumerate(events)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def own(process: int, *, heard: datetime, host: str | None = None, released: bool = False) -> None:
    folder = Path("results/digits/training")
    folder.mkdir(parents=True, exist_ok=True)
    said = {"token": "t", "host": host or socket.gethostname(), "process": process,
            "since": heard.isoformat(), "released": released}  # fmt: skip
    (folder / "owner.json").write_text(json.dumps(said))
    (folder / "owner.t.heartbeat").write_text(heard.isoformat())


def event(name: str, step: int, **more) -> dict:
    return {"event": name, "step": step, **more}


def test_a_study_that_has_not_begun_stands_at_zero(config):
    found = state(config)
    assert (found.steps_done, found.samples_done, found.scores_done) == (0, 0, 0)
    assert (found.steps, found.scores) == (1200, 7)
    assert found.trainer is None and found.seconds_left is None


def test_a_running_training_tells_its_step_speed_and_time_left(config):
    train(
        event("started", 0), event("trained", 10, images_per_second=1.0),  # warming up
        event("trained", 20, images_per_second=50.0),
        event("trained", 30, images_per_second=200.0),
    )  # fmt: skip
    own(os.getpid(), heard=datetime.now(UTC))
    found = state(config)
    assert found.steps_done == 30
    assert found.images_per_second == pytest.approx(80)  # 2 / (1/50 + 1/200)
    assert found.seconds_left == pytest.approx(1170 * 64 / 80)
    assert found.trainer.process == os.getpid()


def test_without_a_trainer_only_what_is_saved_counts(config):
    train(
        event("started", 0), event("state saved", 100),
        event("trained", 150, images_per_second=64.0),
    )  # fmt: skip
    assert state(config).steps_done == 100
    for heard, host, released in (
        (datetime.now(UTC) - timedelta(hours=1), "elsewhere", False),  # not heard of for long
        (datetime.now(UTC), None, True),  # ended by itself
    ):
        own(os.getpid(), heard=heard, host=host, released=released)
        assert state(config).trainer is None
        assert state(config).steps_done == 100
    own(os.getpid(), heard=datetime.now(UTC), host="elsewhere")
    assert state(config).steps_done == 150


def test_a_trainer_that_died_on_this_machine_is_gone_at_once(config):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own(ended.pid, heard=datetime.now(UTC))
    assert state(config).trainer is None


def test_changed_keys_begin_at_zero_and_are_said(config):
    Path("results/digits/training").mkdir(parents=True)
    keys = {"train": {"seed": 99}}
    current = {"fingerprint": "f", "keys": keys}
    Path("results/digits/training/current.json").write_text(json.dumps(current))
    train(event("started", 0), event("state saved", 600), event("stopped by a signal", 600))
    found = state(config)
    assert found.steps_done == 0
    assert "train.seed was 99" in found.notes[0]


def test_scores_and_samples_are_counted_and_the_newest_shown(config):
    fake_results.write_scores(Path("results"), checkpoints=3)
    fake_results.write_samples(Path("results"), "digits", 300, images=512)
    found = state(config)
    assert (found.samples_done, found.scores_done) == (1, 3)
    (newest,) = found.newest_scores
    assert (newest.step, newest.samples, newest.feature_space) == (900, "dpm20", "classifier")
    (line,) = [line for line in lines(config) if "FID" in line]
    assert f"FID {newest.fid:.4g}" in line


def lines(config) -> list[str]:
    jobs.look_again()
    return list(dashboard(overview(config, Path("config.yaml"), Path())))


def log(rule: str, name: str, text: str, age: float = 0.0, folder: Path = LOGS) -> Path:
    path = folder / rule / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    then = time.time() - age
    os.utime(path, (then, then))
    return path


SAMPLE = "digits.dpm20.00000300.000000-000511"


def test_a_program_that_failed_is_shown_with_its_words_and_its_log(config):
    log("sample", f"{SAMPLE}.log", "drawing:  3%|\rdrawing: 9%|\rerror: no room on the disk\n", 60)
    log("train", "digits.00000000-00000600.log", "train digits: 40%|####\n", 30)  # runs
    log("train", "another.00000000-00000600.log", "error: not ours\n")
    (failure,) = state(config).failures
    assert (failure.rule, failure.message) == ("sample", "error: no room on the disk")
    shown = "\n".join(lines(config))
    assert "failed" in shown and f"log: {LOGS / 'sample' / SAMPLE}.log" in shown


def test_a_traceback_is_shown_by_its_last_line(config):
    text = 'Traceback (most recent call last):\n  File "x.py", line 1\n    f()\nValueError: bad\n'
    log("score", "digits.classifier.dpm20.00000300.log", text + "\n")
    assert state(config).failures[0].message == "ValueError: bad"


def test_a_job_that_has_since_succeeded_did_not_fail(config):
    log("sample", f"{SAMPLE}.log", "error: no room on the disk\n", age=60)
    log("sample", f"{SAMPLE}.benchmark.tsv", "s\n1\n", age=10)
    assert state(config).failures == []


KILLED = (
    "slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***\n"
)


def slurm_log(number: int, text: str, age: float = 0.0) -> Path:
    folder = Path(".snakemake/slurm_logs/rule_sample") / re_joined(SAMPLE)
    return log("", f"{number}.log", text, age, folder)


def re_joined(stem: str) -> str:
    return stem.replace(".", "_").replace("-", "_")


def job(number: int, state: str) -> slurm_queue.SlurmJob:
    return slurm_queue.SlurmJob(
        str(number), state, "sample", re_joined(SAMPLE), "run", "gpu", "n1", "None", "1:00", "0:00"
    )


def test_a_job_that_slurm_ended_is_shown_in_slurms_words(config):
    slurm_log(11, "slurmstepd: error: Detected 1 oom-kill event(s)\n", age=90)
    slurm_log(12, KILLED, age=60)
    (failure,) = newest_failures(config, Path(), [job(12, "TIMEOUT"), job(13, "PENDING")])
    assert "DUE TO TIME LIMIT" in failure.message and failure.state == "TIMEOUT"
    assert failure.log.endswith("12.log") and failure.again_as == "13"


def test_the_programs_words_outweigh_slurms(config):
    log("sample", f"{SAMPLE}.log", "error: no room on the disk\n", age=62)
    slurm_log(12, "srun: error: n1: task 0: Exited with exit code 2\n", age=60)
    (failure,) = newest_failures(config, Path(), [job(12, "FAILED")])
    assert (failure.message, failure.state) == ("error: no room on the disk", "FAILED")


def test_jobs_that_run_that_succeeded_and_that_were_stopped_did_not_fail(config):
    slurm_log(12, "1 of 1 steps (100%) done\n")  # its main process has not looked yet
    assert newest_failures(config, Path(), [job(12, "COMPLETED")]) == []
    slurm_log(12, "going on\n")
    assert newest_failures(config, Path(), [job(12, "RUNNING")]) == []
    slurm_log(12, KILLED.replace(" DUE TO TIME LIMIT", ""))
    assert len(newest_failures(config, Path(), [job(12, "CANCELLED")])) == 1
    (LOGS / "main").mkdir(parents=True)
    (LOGS / "main" / "stopped.json").write_text('["12"]')
    assert newest_failures(config, Path(), [job(12, "CANCELLED")]) == []


def test_many_waiting_jobs_are_counted_by_reason(config, monkeypatch):
    def waiting(number: int, reason: str) -> slurm_queue.SlurmJob:
        wildcards = f"digits_dpm20_{number:08}_000000_000511"
        return slurm_queue.SlurmJob(
            str(number), "PENDING", "sample", wildcards, "run", "gpu", "", reason, "0:00", "1:00:00"
        )

    jobs = [*(waiting(number, "Resources") for number in range(30)), waiting(99, "Priority")]
    monkeypatch.setattr(slurm_queue, "queue", lambda folder, ended: jobs)
    shown = "\n".join(lines(config))
    assert "SLURM jobs: 0 running, 31 waiting" in shown
    assert "waiting   30 sample (Resources) in partition gpu" in shown
    assert "waiting   sample digits_dpm20_00000099_000000_000511: job 99 (Priority)" in shown


def test_a_queue_that_does_not_answer_is_one_line_and_the_rest_is_shown(config, monkeypatch):
    def fails(folder, ended):
        raise UserError("slurm_load_jobs error: Unable to contact slurm controller")

    monkeypatch.setattr(slurm_queue, "queue", fails)
    shown = lines(config)
    assert [line for line in shown if "Unable to contact slurm controller" in line] == [shown[2]]
    assert any("0 of 1,200 steps" in line for line in shown)


def test_attempts_are_told_apart_and_half_a_line_is_left_out(config):
    train(
        event("started", 0), event("state saved", 20), event("trained", 30),
        event("resumed", 20), event("trained", 40), event("state saved", 40),
        event("job ended", 40),
    )  # fmt: skip
    with Path("results/digits/progress.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    first, second = read_attempts(Path("results/digits/progress.jsonl"))
    assert (first.first, first.step, first.saved, first.seconds) == (0, 30, 20, 20)
    assert not first.ended and second.ended
    assert (second.first, second.step, second.saved, second.seconds) == (20, 40, 40, 30)


RECORDS = """
import sys, time; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ddpm_bench.runs.main_process import record
record(Path("results"), ["digits"]); print("recorded", flush=True); sys.stdin.read()
"""


def test_a_main_process_is_known_while_it_lives(config):
    scripts = str(REPOSITORY / "workflow" / "scripts")
    started = subprocess.Popen(
        [sys.executable, "-c", RECORDS, scripts],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert started.stdout.readline() == "recorded\n"
        (found,) = main_process.main_processes(Path("results"), ["digits", "b"])
        assert found.process == started.pid and found.folder == str(Path.cwd())
        assert main_process.main_processes(Path("results"), ["another"]) == []
    finally:
        started.kill()
        started.wait()
    assert main_process.main_processes(Path("results"), ["digits"]) == []
    # Its record is there still: what it was called with is known.
    (left,) = main_process.all_main_processes(Path("results"), ["digits"])
    assert left.command.startswith("snakemake ")


def test_a_main_process_that_ends_takes_its_record_with_it(config):
    scripts = str(REPOSITORY / "workflow" / "scripts")
    subprocess.run([sys.executable, "-c", RECORDS, scripts], input="", text=True, check=True)
    assert list((LOGS / "main").glob("*.json")) == []


def test_watching_shows_what_has_changed(config):
    Path("config.yaml").write_text(yaml.safe_dump(DEMO))
    program = str(REPOSITORY / "workflow" / "scripts" / "commands" / "status.py")
    command = [sys.executable, program, "--watch", "0.1", "--configfile", "config.yaml"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        first = next(line for line in watching.stdout if "training" in line)
        assert "0 of 1,200 steps" in first
        manifest = Path("results/digits/training/job-00000000-00000600.json")
        manifest.parent.mkdir(parents=True)
        manifest.write_text("{}")
        assert any("600 of 1,200 steps" in line for line in itertools.islice(watching.stdout, 100))
    finally:
        watching.terminate()
        watching.wait()


def test_durations_have_two_units():
    shown = [duration(seconds) for seconds in (0, 45, 200, 3600, 11_520, 180_000)]
    assert shown == ["0 s", "45 s", "3 min 20 s", "1 h", "3 h 12 min", "2 d 2 h"]


def test_status_imports_no_torch(config):
    command = [
        sys.executable,
        "-X",
        "importtime",
        str(COMMANDS / "status.py"),
    ]
    config_file = str(REPOSITORY / "config" / "config.yaml")
    done = subprocess.run([*command, "--json", "--configfile", config_file], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["experiments"][0]["name"] == "digits"
    imported = {line.split("|")[-1].strip() for line in done.stderr.decode().splitlines()}
    assert not imported & {"torch", "pandas", "numpy", "matplotlib"}
