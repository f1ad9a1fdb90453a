"""What tests share. Those of real photographs are left out, with a line, where there are none."""

from pathlib import Path

import pytest
from places import REPOSITORY

SYSU_SHAPE = REPOSITORY.parent / "shared" / "data" / "sysu-shape"


@pytest.fixture(scope="session")
def sysu_shape() -> Path:
    """The folder of the 1,541 photographs of SYSU-Shape, beside the repository; read-only."""
    return SYSU_SHAPE


@pytest.fixture(scope="session")
def strategy_results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of the processes of strategy_runs.py has noted of its runs, by rank."""
    from strategy_runs import in_processes  # torch: only where it is needed

    return in_processes(tmp_path_factory.mktemp("strategies"))


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
