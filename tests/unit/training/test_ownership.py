"""One trainer owns an experiment, shown by real processes, some of them as if on another machine.

Another machine has another boot id, and a lock that does not reach from one to the other: both are
files, and a mount namespace puts others in their place.
"""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from mount_namespaces import in_namespace
from places import SCRIPTS
from training_runs import Run, wait_until, write_dataset

from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json, replacing
from ddpm_bench.training.folder import TrainingFolder
from ddpm_bench.training.ownership import owning, read_description

RENEW_SECONDS = 0.2

HOLDER = """
import os, sys, time
from pathlib import Path
from ddpm_bench.files import replacing
from ddpm_bench.training.ownership import owning
from ddpm_bench.cli import run

def main():
    folder = Path(sys.argv[1])
    with owning(folder, float(sys.argv[2])) as owner:
        while not (Path(folder, "end").exists() or owner.asked_to_leave):
            with replacing(folder / "written-by", owner.check) as temporary:
                temporary.write_text(str(os.getpid()))
            time.sleep(0.01)

run(main)
"""


def on_another_machine(folder: Path) -> list[str]:
    """A command that runs another as if on another machine that sees the same training folder."""
    lock, other_lock, boot_id = folder / "owner.lock", folder / "other.lock", folder / "boot-id"
    for path in (lock, other_lock):
        path.touch()
    boot_id.write_text("ffffffff-ffff-4fff-bfff-ffffffffffff\n")
    return in_namespace(
        f"mount --bind {boot_id} /proc/sys/kernel/random/boot_id",
        f"mount --bind {other_lock} {lock}",
    )


@pytest.fixture
def elsewhere(tmp_path) -> list[str]:
    return on_another_machine(tmp_path)


@pytest.fixture
def hold(tmp_path) -> Iterator:
    """Start a process that owns the folder and writes into it all the time."""
    processes = []

    def start(before: list[str] = ()) -> subprocess.Popen:
        command = [*before, sys.executable, "-c", HOLDER, str(tmp_path), str(RENEW_SECONDS)]
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        wait_until(lambda: _text(tmp_path / "written-by") == str(process.pid), process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def heartbeats(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.glob("owner.*.heartbeat")]


def test_an_owner_is_named_to_others_and_renews(hold, tmp_path):
    holder = hold()
    (before,) = heartbeats(tmp_path)
    wait_until(lambda: heartbeats(tmp_path) != [before], holder)
    who = f"being trained by process {holder.pid} on {socket.gethostname()}, since "
    with pytest.raises(UserError, match=f"{who}.*, last renewed 20"), owning(tmp_path):
        pass


def test_an_owner_that_ended_by_itself_has_released(hold, elsewhere, tmp_path):
    holder = hold(elsewhere)
    (tmp_path / "end").touch()
    assert holder.wait(10) == 0
    assert read_description(tmp_path).released
    assert heartbeats(tmp_path) == []
    with owning(tmp_path):
        assert not read_description(tmp_path).released


def test_an_owner_killed_on_this_machine_is_followed_at_once(hold, tmp_path, capsys):
    hold().kill()
    time.sleep(RENEW_SECONDS)
    with owning(tmp_path) as owner:
        owner.check()
    assert capsys.readouterr().err == ""


def test_an_owner_killed_on_another_machine_is_watched_then_followed(
    hold, elsewhere, tmp_path, capsys
):
    holder = hold(elsewhere)
    holder.kill()
    holder.wait()
    begin = time.monotonic()
    with owning(tmp_path) as owner:
        owner.check()
        assert time.monotonic() - begin >= 1.8
        assert len(heartbeats(tmp_path)) == 1
    printed = capsys.readouterr().err.splitlines()
    assert "waiting up to 1.8 seconds for a sign that it lives" in printed[0]
    assert f"taken over from process {holder.pid} on {socket.gethostname()}" in printed[1]


def test_where_files_cannot_be_locked_heartbeats_decide(hold, tmp_path, monkeypatch, capsys):
    def refuse(lock, timeout):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    holder = hold()
    with pytest.raises(UserError, match=f"being trained by process {holder.pid}"), owning(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with owning(tmp_path) as owner:
        owner.check()
    assert f"taken over from process {holder.pid}" in capsys.readouterr().err


def test_an_owner_that_lives_on_another_machine_stays(hold, elsewhere, tmp_path):
    holder = hold(elsewhere)
    with pytest.raises(UserError, match=f"being trained by process {holder.pid}"), owning(tmp_path):
        pass
    assert holder.poll() is None
    assert read_description(tmp_path).process == holder.pid


@pytest.fixture
def job_has_moved(tmp_path, monkeypatch) -> None:
    """Holders run in SLURM job 7 on node a; SLURM, a stand-in, has that job nowhere near."""
    commands = tmp_path / "commands"
    commands.mkdir()
    (commands / "squeue").write_text("#!/bin/sh\n")
    (commands / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURMD_NODENAME", "a")


@pytest.mark.parametrize("shared_locks", [True, False])
def test_an_owner_that_its_slurm_job_has_left_gives_way(
    hold, elsewhere, job_has_moved, tmp_path, capsys, shared_locks
):
    holder = hold([] if shared_locks else elsewhere)
    with owning(tmp_path) as owner:
        owner.check()
        assert holder.wait(10) == 0
        assert read_description(tmp_path).process == os.getpid()
        assert list(tmp_path.glob("owner.*.leave")) == []
    assert "which SLURM has sent away from a: it is asked to save" in capsys.readouterr().err


def test_an_owner_that_does_not_leave_is_not_overrun(
    hold, elsewhere, job_has_moved, tmp_path, monkeypatch
):
    monkeypatch.setattr("ddpm_bench.training.ownership.LEAVE_SECONDS", 1.0)
    monkeypatch.setattr("ddpm_bench.training.ownership._ask_to_leave", lambda folder, holder: None)
    for before in ([], elsewhere):
        holder = hold(before)
        refused = pytest.raises(UserError, match=f"being trained by process {holder.pid}")
        with refused, owning(tmp_path):
            pass
        assert holder.poll() is None
        holder.kill()
        holder.wait()


def test_an_owner_that_was_thought_gone_writes_nothing_more(hold, elsewhere, tmp_path):
    stalled = hold(elsewhere)
    stalled.send_signal(signal.SIGSTOP)
    holder = hold()
    stalled.send_signal(signal.SIGCONT)
    _, printed = stalled.communicate(timeout=10)
    assert stalled.returncode == 2
    assert f"has taken this experiment over (process {holder.pid} on " in printed
    assert "Traceback" not in printed
    # The claim of the new owner stands, and its heart goes on beating.
    assert read_description(tmp_path).process == holder.pid
    (before,) = heartbeats(tmp_path)
    wait_until(lambda: heartbeats(tmp_path) != [before], holder)
    assert _text(tmp_path / "written-by") == str(holder.pid)


def test_what_a_new_owner_has_removed_ends_in_the_message_that_it_is_there(tmp_path):
    (tmp_path / "other").mkdir()
    with owning(tmp_path / "other"):
        pass
    taken = pytest.raises(UserError, match="another trainer has taken this experiment over")
    with taken, owning(tmp_path), replacing(tmp_path / "weights") as temporary:
        temporary.write_text("half")
        shutil.copy(tmp_path / "other" / "owner.json", tmp_path)
        temporary.unlink()
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{")])
def test_without_a_readable_claim_nothing_is_written(tmp_path, damage):
    with (
        pytest.raises(UserError, match=r"owner\.json is missing or damaged"),
        owning(tmp_path) as owner,
    ):
        damage(tmp_path / "owner.json")
        with replacing(tmp_path / "weights", owner.check) as temporary:
            temporary.write_text("all")
    assert list(tmp_path.glob("*weights*")) == []


def test_a_stalled_trainer_that_comes_back_overwrites_nothing(tmp_path):
    write_dataset(tmp_path)
    run = Run(tmp_path, "stalled", how={"save_seconds": 0.1})
    run.options = ("--renew-seconds", str(RENEW_SECONDS))
    training = run.results / "training"
    training.mkdir(parents=True)
    launcher = [*on_another_machine(training), sys.executable]
    stalled = run.start(0, 10**6, launcher)
    holder = None
    try:
        wait_until(lambda: len(run.states()) > 0, stalled)
        stalled.send_signal(signal.SIGSTOP)
        at = read_json(run.states()[-1] / "state.json")["step"]
        holder = run.start(0, 10**6)
        wait_until(lambda: run.states()[-1].name > f"step-{at:08}", holder)
        stalled.send_signal(signal.SIGCONT)
        _, printed = stalled.communicate(timeout=30)
        assert stalled.returncode == 2, printed
        assert f"has taken this experiment over (process {holder.pid} on " in printed
        assert "Traceback" not in printed
        holder.send_signal(signal.SIGTERM)
        _, printed = holder.communicate(timeout=30)
        assert holder.returncode == 75, printed
        assert f"taken over from process {stalled.pid} on " in printed
        assert f"going on from the saved state of step {at}" in printed
        folder = TrainingFolder(run.results, run.states()[-1].parents[1].name)
        stopped = run.events("stopped by a signal")[0]["step"]
        assert folder.states.latest_valid_step(at_most=10**6) == stopped
    finally:
        for process in (stalled, holder):
            if process is not None and process.poll() is None:
                process.kill()
                process.communicate()
