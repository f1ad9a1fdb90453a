"""Programs that tests start as forks behave as programs that are started anew."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from places import SCRIPTS

PROBE = """
import json, os, sys, time
what = sys.argv[1]
if what == "tell":
    told = {"arguments": sys.argv[1:], "folder": os.getcwd(), "given": os.environ.get("GIVEN"),
            "parent": os.getppid(), "session": os.getsid(0), "name": __name__,
            "stdin": sys.stdin.read(), "module": "ddpm_bench" in sys.modules}
    print(json.dumps(told))
    print("to stderr", file=sys.stderr)
elif what == "fail":
    raise ValueError("as asked")
elif what == "exit":
    sys.exit(int(sys.argv[2]))
elif what == "wait":
    print("waiting", flush=True)
    time.sleep(600)
elif what == "start":
    import subprocess
    done = subprocess.run([sys.executable, sys.argv[0], "exit", "5"])
    print(done.returncode)
"""


@pytest.fixture
def probe(tmp_path) -> Path:
    """A program that stands where ours do."""
    path = tmp_path / "workflow" / "scripts" / "probe.py"
    path.parent.mkdir(parents=True)
    path.write_text(PROBE)
    return path


def started(probe: Path, *arguments: str, **how) -> subprocess.CompletedProcess:
    command = [sys.executable, str(probe), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **how)


@pytest.fixture(params=["forked", pytest.param("new", marks=pytest.mark.new_process)])
def kind(request) -> str:
    return request.param


def test_a_program_has_its_own_arguments_folder_environment_and_streams(kind, probe, tmp_path):
    environment = {**os.environ, "GIVEN": "a value"}
    done = started(
        probe,
        "tell",
        "a b",
        "",
        cwd=tmp_path,
        env=environment,
        input="said",
        start_new_session=True,
    )
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "to stderr\n")
    assert told["arguments"] == ["tell", "a b", ""] and told["name"] == "__main__"
    assert (told["folder"], told["given"], told["stdin"]) == (str(tmp_path), "a value", "said")
    assert told["parent"] == os.getpid() and told["session"] != os.getsid(0)


def test_a_program_ends_with_its_own_status(kind, probe):
    assert started(probe, "exit", "7").returncode == 7
    failed = started(probe, "fail")
    assert failed.returncode == 1 and failed.stderr.endswith("ValueError: as asked\n")
    assert "5\n" in started(probe, "start").stdout, "and what it starts, too"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_ends_a_program_as_it_says(kind, probe, number):
    command = [sys.executable, str(probe), "wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"waiting\n"
        assert psutil.Process(process.pid).ppid() == os.getpid()
        process.send_signal(number)
        assert process.wait(60) == -number


@pytest.fixture
def shells(fork_server) -> dict[str, str]:
    """An environment in which `python` is what Snakemake's jobs find."""
    python = str(fork_server.python.parent)
    return {**os.environ, "PATH": os.pathsep.join([python, os.environ["PATH"]])}


def test_a_shell_sees_the_status_of_a_program(probe, shells):
    script = f"cd {probe.parent} && python probe.py exit 3; echo $?; python -c 'print(4)'"
    command = ["sh", "-c", script.replace("probe.py", str(probe))]
    done = subprocess.run(command, env=shells, capture_output=True, text=True, check=True)
    assert done.stdout == "3\n4\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_the_program_of_a_shell(probe, shells, number):
    command = ["sh", "-c", f"exec python {probe} wait"]
    with subprocess.Popen(command, env=shells, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(number)
        assert process.wait(60) == -number
        assert process.stdout.read() == b"", "it has ended too, and holds the pipe no more"


@pytest.mark.new_process
@pytest.mark.parametrize("program", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_every_program_starts_anew_too(program):
    """With nothing imported before."""
    done = subprocess.run([sys.executable, program, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {program.name}")
