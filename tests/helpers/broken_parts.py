"""A GPU check whose parts fail in every way, for tests of what runs them.

    python broken_parts.py CHECK_ARGUMENTS

takes the arguments that the runner gives to the process of a part.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from places import SCRIPTS

if __name__ == "__main__":
    sys.path.insert(0, str(SCRIPTS))

from ddpm_bench.errors import UserError
from ddpm_bench.gpu_check import runner
from ddpm_bench.gpu_check.part import Check, Part


def good(setting):
    yield Check("works", "pass", "all of it", numbers={"speed": 2.0, "loss": float("nan")})


def refused(setting):
    yield Check("first", "pass", "made before the error")
    raise UserError("GPU 0: out of memory")


def broken(setting):
    yield Check("first", "pass", "made before the error")
    raise ZeroDivisionError("division by zero")


def killed(setting):
    yield Check("first", "pass", "made before the end")
    print("last words", file=sys.stderr, flush=True)
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    orphan = subprocess.Popen(command, start_new_session=True)
    (setting.folder / "orphan").write_text(str(orphan.pid))
    os.kill(os.getpid(), signal.SIGKILL)


def endless(setting):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (setting.folder / "child").write_text(str(child.pid))
    yield Check("first", "pass", "made before the time was over")
    time.sleep(600)


def part(function, seconds=60, unseen="nothing", shares=False):
    name = function.__name__
    return Part(name, f"a part that is {name}", f"broken_parts:{name}", seconds, unseen, shares)


def torn(setting):
    """End in the middle of a row, as on a full disk."""
    yield Check("first", "pass", "made before the end")
    with (setting.folder / "torn.jsonl").open("a") as rows:
        rows.write('{"name": "sec')
    os.kill(os.getpid(), signal.SIGKILL)


def stopping(setting):
    """Stop the check as Ctrl-C does."""
    yield Check("first", "pass", "made before the signal")
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(600)


def only_on_gpus(setting):
    raise AssertionError


PARTS = (
    *(part(function) for function in (good, refused, broken, killed, torn)),
    part(endless, seconds=4),
    part(only_on_gpus, unseen=None),
)


def quick(setting):
    """End when the slower part beside it has begun, and leave a program of its own."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    _wait_for(setting.folder / "slow has begun")
    yield Check("beside", "pass", "the other part runs")


def slow(setting):
    """Go on after the quicker part has ended."""
    (setting.folder / "slow has begun").touch()
    _wait_for(setting.folder / "quick.log")
    time.sleep(1.0)
    yield Check("beside", "pass", "the end of the other part is no end of this one")


def _wait_for(path):
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.01)


SHARING = (part(good), part(quick, shares=True), part(slow, shares=True))

STOPPED = (part(good), part(stopping), part(refused))

if __name__ == "__main__":
    runner.PARTS = (*PARTS, *SHARING, *STOPPED)
    options = argparse.ArgumentParser()
    options.add_argument("--run-part")
    options.add_argument("--setting")
    options.add_argument("--checks", type=Path)
    given = options.parse_args()
    sys.exit(runner.run_part(given.run_part, given.setting, given.checks))
