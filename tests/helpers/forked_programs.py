"""Programs of the project as forks of one process that has imported their code (fork_server.py).

`subprocess.Popen` starts them so where `install` was called: our programs, and Snakemake, under
the Python that runs this one. Everything else, and what gets a PYTHONPATH of its own, is started as
ever.
"""

import array
import ctypes
import marshal
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from places import HELPERS, REPOSITORY

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
AS_EVER = subprocess.Popen._execute_child
# Programs of the tests whose imports are those of ours.
OF_TESTS = ("counted_training.py", "dry_runs.py", "strategy_runs.py")

# What a shell finds as `python`: small, since it starts once per job.
RELAY = """\
#!{python} -IS
import os, sys
arguments = sys.argv[1:]
name = arguments[0] if arguments else ""
ours = name.endswith(".py") and "/workflow/scripts/" in name or arguments[:2] == ["-m", "snakemake"]
if not ours or "PYTHONPATH" in os.environ:
    os.execv({python!r}, [{python!r}, *arguments])
import marshal, signal, socket, array
connection = socket.socket(socket.AF_UNIX)
connection.connect({place!r})
header = marshal.dumps(("relayed", arguments, os.getcwd(), dict(os.environ), False))
descriptors = array.array("i", [0, 1, 2])
connection.sendmsg([len(header).to_bytes(4, "little")],
                   [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
connection.sendall(header)
program = int.from_bytes(connection.recv(4), "little")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, lambda number, frame: os.kill(program, number))
told = connection.recv(4)
status = int.from_bytes(told, "little", signed=True) if told else 1
if status < 0:
    if status != -signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


def can_be_forked() -> bool:
    """True on a system that has what the server needs: Linux 5.3 or newer."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


class ForkServer:
    """The process that forks; it is started when it is first needed, and ends with this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"  # for shells
        self._place = folder / "socket"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the process, unless it is there; it imports, and `fork` waits for it."""
        if self._process is not None:
            return
        self.python.parent.mkdir(parents=True)
        text = RELAY.format(python=sys.executable, place=str(self._place))
        self.python.write_text(text)
        self.python.chmod(0o755)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HELPERS)}
        command = [sys.executable, str(HELPERS / "fork_server.py")]
        self._process = subprocess.Popen(
            [*command, str(self._place), str(self.python)],
            env=environment, stdin=subprocess.DEVNULL, cwd=REPOSITORY,
        )  # fmt: skip

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def seconds_used(self) -> float:
        """Processor time of the server, and of the programs of shells that have ended."""
        if self._process is None:
            return 0.0
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # proc(5): utime ... cstime

    def fork(
        self, arguments: list[str], folder: str, environment: dict, descriptors: list[int],
        new_session: bool,
    ) -> int:  # fmt: skip
        """Start a program that becomes a child of this process; returns its process id."""
        self.start()
        while not self._place.exists():
            assert self._process.poll() is None, "the server that forks programs has ended"
            time.sleep(0.01)
        header = marshal.dumps(("adopted", arguments, folder, environment, new_session))
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        with socket.socket(socket.AF_UNIX) as connection, _adopting_orphans():
            connection.connect(str(self._place))
            connection.sendmsg([len(header).to_bytes(4, "little")], [rights])
            connection.sendall(header)
            return int.from_bytes(receive(connection, 4), "little")


@contextmanager
def _adopting_orphans():
    """Orphans among the descendants of this process become its children, for so long."""
    control = ctypes.CDLL(None).prctl
    control(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        control(PR_SET_CHILD_SUBREAPER, 0)


def receive(connection: socket.socket, count: int) -> bytes:
    """So many bytes, in however many pieces they come."""
    found = b""
    while len(found) < count:
        piece = connection.recv(count - len(found))
        if not piece:
            raise ConnectionError("the other side has closed the connection")
        found += piece
    return found


def program_of(command: list[str]) -> list[str] | None:
    """The arguments of Python in a command that a fork can be; None for any other."""
    if command[:1] != [sys.executable]:
        return None
    arguments = command[1:]
    first = next((argument for argument in arguments if argument != "-u"), "")
    if first == "-m":
        return arguments if arguments[1] == "snakemake" else None
    path = Path(first)
    if path.suffix != ".py" or not path.is_file():
        return None
    folder = path.resolve().parent
    beside = folder.parent if folder.name == "commands" else folder
    ours = beside.parts[-2:] == ("workflow", "scripts") or folder == REPOSITORY / "comparisons"
    return arguments if ours or path.name in OF_TESTS else None


def install(fork: Callable[..., int]) -> None:
    """Let `subprocess.Popen` start our programs by `fork`."""
    names = AS_EVER.__code__.co_varnames[1 : AS_EVER.__code__.co_argcount]

    def execute_child(self: subprocess.Popen, *given) -> None:
        start = dict(zip(names, given, strict=True))
        environment = dict(os.environ if start["env"] is None else start["env"])
        arguments = _forkable(start, environment)
        if arguments is None:
            return AS_EVER(self, *given)
        pipes = (start["p2cread"], start["c2pwrite"], start["errwrite"])
        descriptors = [own if pipe == -1 else pipe for own, pipe in enumerate(pipes)]
        folder = os.fspath(start["cwd"] or Path.cwd())
        try:
            self.pid = fork(arguments, folder, environment, descriptors, start["start_new_session"])
            self._child_created = True
        finally:
            ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            self._close_pipe_fds(*(start[end] for end in ends))
        return None

    subprocess.Popen._execute_child = execute_child


def uninstall() -> None:
    """Let `subprocess.Popen` start every program as ever."""
    subprocess.Popen._execute_child = AS_EVER


def _forkable(start: dict, environment: dict[str, str]) -> list[str] | None:
    args = start["args"]
    if start["shell"] or isinstance(args, str | bytes) or start["executable"] or start["pass_fds"]:
        return None
    if start["preexec_fn"] is not None or not isinstance(args, list | tuple):
        return None
    if environment.get("PYTHONPATH"):
        return None
    return program_of([os.fspath(arg) for arg in args])


def start_children_by_forks(run_as_program: Callable[..., None], python: str) -> None:
    """Let this process, itself a fork, fork again for the programs that it starts."""

    def fork(
        arguments: list[str], folder: str, environment: dict, descriptors: list[int],
        new_session: bool,
    ) -> int:  # fmt: skip
        program = os.fork()
        if program:
            return program
        if new_session:
            os.setsid()
        kept = [os.dup(descriptor) for descriptor in descriptors]  # none of them is 0, 1 or 2
        for target, descriptor in enumerate(kept):
            os.dup2(descriptor, target)
        os.closerange(3, 4096)
        os.chdir(folder)
        run_as_program(arguments, environment, python)
        return 0

    install(fork)
