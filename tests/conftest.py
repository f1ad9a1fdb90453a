"""Fixtures and limits that all tests share.

Tests of real photographs are deselected, with a line, where there are none.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import forked_programs
import pytest
from places import REPOSITORY

# A shell that starts the tests in the background has them and their programs ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Before torch is imported: with several threads sums are taken in another order.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that wait for a core do not spin: tests run beside each other, on two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
SYSU_SHAPE = REPOSITORY.parent / "shared" / "data" / "sysu-shape"


@pytest.fixture(scope="session")
def sysu_shape() -> Path:
    """Return the folder of SYSU-Shape's 1,541 photographs, beside the repository; read-only."""
    return SYSU_SHAPE


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """Give each test torch's threads as the first had them: programs in this process set their own.

    A network computes other bits with another number of threads.
    """
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def strategy_results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Return the notes of each process of strategy_runs.py on its runs, by rank."""
    from strategy_runs import in_processes  # torch: only where it is needed

    return in_processes(tmp_path_factory.mktemp("strategies"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--new-processes",
        action="store_true",
        help="start every program anew, and import all of its code, instead of forking a process "
        "that has imported it (tests/helpers/fork_server.py)",
    )


FORKED = pytest.StashKey[forked_programs.ForkServer]()


@pytest.fixture
def fork_server(request: pytest.FixtureRequest) -> forked_programs.ForkServer:
    """Return the running server that forks the programs of this session."""
    server = request.config.stash.get(FORKED, None)
    if server is None:
        pytest.skip("programs are started anew")
    server.start()
    return server


def pytest_sessionstart(session: pytest.Session) -> None:
    if forked_programs.can_be_forked() and not session.config.getoption("--new-processes"):
        folder = Path(tempfile.mkdtemp(prefix="forks-"))
        session.config.stash[FORKED] = forked_programs.ForkServer(folder)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if FORKED in session.config.stash:
        session.config.stash[FORKED].stop()


MOST_SECONDS = 60.0
BEGAN = pytest.StashKey[float]()


def seconds_used(config: pytest.Config) -> float:
    """Processor time of this process and of all that it has started, as far as they have ended.

    Other programs make a test wait, and not work: so a limit on it holds on a busy machine too.
    """
    used = sum(os.times()[:4])
    return used + (config.stash[FORKED].seconds_used() if FORKED in config.stash else 0.0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Fail a test that takes a minute of processor time, and is not marked `long`.

    What is set up for it does not count: several tests may share that.
    """
    report = yield
    if report.when != "call" or not report.passed or item.get_closest_marker("long"):
        return report
    used = seconds_used(item.config) - item.stash[BEGAN]
    if used > MOST_SECONDS:
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} took {used:.0f} s of processor time; those of more than "
            f"{MOST_SECONDS:.0f} s are marked `long`"
        )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    item.stash[BEGAN] = seconds_used(item.config)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Start the programs of a test as forks, unless the test is marked `new_process`."""
    if FORKED in item.config.stash and item.get_closest_marker("new_process") is None:
        forked_programs.install(item.config.stash[FORKED].fork)
    try:
        return (yield)
    finally:
        forked_programs.uninstall()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # What runs real workflows takes longest, and begins first where several processes share tests.
    items.sort(key=lambda item: "workflow" not in item.path.parts)
    if SYSU_SHAPE.is_dir():
        return
    without = [item for item in items if "sysu_shape" in getattr(item, "fixturenames", ())]
    items[:] = [item for item in items if item not in without]
    config.hook.pytest_deselected(items=without)


def pytest_report_header() -> str | None:
    if SYSU_SHAPE.is_dir():
        return None
    return f"no photographs in {SYSU_SHAPE}: the tests that need them are deselected"
