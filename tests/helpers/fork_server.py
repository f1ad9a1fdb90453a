"""A process that has the project's code imported and forks itself for each program that tests run.

Importing torch and what stands on it takes a program 2 to 5 seconds of processor time, Snakemake
one; a fork takes milliseconds. A forked program has its own arguments, folder, environment, output,
process id and exit status. Two kinds of programs are started here (forked_programs.py has both):

- adopted: by a test itself. It becomes the test's own child, as if the test had started it.
- relayed: by a shell, such as Snakemake's jobs. The `python` that the shell has started waits for
  the fork, hands signals on to it and ends as it has ended.

    fork_server.py SOCKET PYTHON      PYTHON: what `sys.executable` is to be in Snakemake
"""

import array
import atexit
import contextlib
import ctypes
import gc
import importlib
import marshal
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import weakref
from pathlib import Path

from forked_programs import receive, start_children_by_forks
from places import HELPERS, SCRIPTS

PR_SET_PDEATHSIG = 1  # prctl(2)
PRELOADED = (
    "matplotlib.pyplot",
    "pandas",
    "seaborn",
    "sklearn.datasets",
    "snakemake.api",
    "snakemake.cli",
    "snakemake.report",
    "torch.distributed.launcher.api",
    "torch_fidelity",
)
# Which programs import by need alone: they would take memory from all others.
NOT_PRELOADED = ("throughput", "dinov2")


def import_all() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    package = SCRIPTS / "ddpm_bench"
    for module in pkgutil.walk_packages([str(package)], "ddpm_bench."):
        if not module.ispkg and not any(part in module.name for part in NOT_PRELOADED):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # the pages of what is imported stay shared


def serve(place: str, python: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    sys.path.insert(0, str(SCRIPTS))
    import_all()
    sys.path[:] = [folder for folder in sys.path if folder not in (str(SCRIPTS), str(HELPERS))]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{place}.new")
        listening.listen(64)
        Path(f"{place}.new").rename(place)  # who sees it can connect
        while True:
            asked, _, _ = select.select([listening], [], [], 0.5)
            if asked:
                connection, _ = listening.accept()
                if os.fork() == 0:
                    listening.close()
                    answer(connection, python)
                connection.close()
            for _ in iter(reaped, 0):
                pass


def reaped() -> int:
    """A process of this one that has ended; 0 where there is none."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG)[0]
    return 0


def answer(connection: socket.socket, python: str) -> None:
    """Fork for one request, and leave; the fork of an adopted program is then an orphan."""
    header, descriptors = receive_with_descriptors(connection)
    kind, arguments, folder, environment, new_session = marshal.loads(header)
    parent, program = os.getpid(), os.fork()
    if program == 0:
        if new_session:
            os.setsid()
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        for descriptor in descriptors:
            os.close(descriptor)
        if kind == "adopted":
            while os.getppid() == parent:
                select.select([], [], [], 0.0005)
        connection.sendall(os.getpid().to_bytes(4, "little"))
        connection.close()
        os.chdir(folder)
        run_as_program(arguments, environment, python)
    if kind == "adopted":
        os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    os._exit(relay_status(connection, program))


def receive_with_descriptors(connection: socket.socket) -> tuple[bytes, list[int]]:
    size = array.array("i").itemsize
    first, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_LEN(3 * size))
    descriptors = array.array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data[: len(data) - len(data) % size])
    return receive(connection, int.from_bytes(first, "little")), list(descriptors)


def relay_status(connection: socket.socket, program: int) -> int:
    """Send how the program has ended; end it when nobody waits for it any more."""
    ended = os.pidfd_open(program)
    readable, _, _ = select.select([ended, connection], [], [])
    if ended not in readable:
        os.kill(program, signal.SIGKILL)
    _, status = os.waitpid(program, 0)
    with contextlib.suppress(OSError):
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "little", signed=True))
    return 0


def run_as_program(arguments: list[str], environment: dict[str, str], python: str) -> None:
    """Be `python ARGUMENTS`, in this process, and end as it would end."""
    status = 1
    try:
        status = _run(arguments, environment, python)
    finally:
        with contextlib.suppress(BaseException):
            threading._shutdown()
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()
        if status < 0:
            signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
        os._exit(status)


def _run(arguments: list[str], environment: dict[str, str], python: str) -> int:
    # What the forked process would still do at its end is not this one's to do.
    atexit._clear()
    weakref.finalize._registry.clear()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    start_children_by_forks(run_as_program, python)
    given = [argument for argument in arguments if argument != "-u"]
    try:
        if given[0] == "-m":
            sys.executable = python
            sys.path.insert(0, str(Path.cwd()))
            sys.argv = given[1:]
            forget_other_code(snakefile_folder(given) / "workflow" / "scripts")
            runpy.run_module(given[1], run_name="__main__", alter_sys=True)
        else:
            folder = Path(given[0]).resolve().parent
            forget_other_code(folder.parent if folder.name == "commands" else folder)
            sys.path.insert(0, str(folder))
            sys.argv = given
            runpy.run_path(given[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        return -signal.SIGINT
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def snakefile_folder(arguments: list[str]) -> Path:
    """The folder of the Snakefile that the arguments of Snakemake name."""
    named = "--snakefile" in arguments
    return Path(arguments[arguments.index("--snakefile") + 1]).parent if named else Path.cwd()


def forget_other_code(folder: Path) -> None:
    """Let a program beside another copy of the library import that one."""
    if folder.resolve() != SCRIPTS and (folder / "ddpm_bench").is_dir():
        for name in [name for name in sys.modules if name.partition(".")[0] == "ddpm_bench"]:
            del sys.modules[name]


if __name__ == "__main__":
    serve(*sys.argv[1:])
