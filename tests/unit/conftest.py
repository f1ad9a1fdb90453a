"""What tests of several files share."""

import pytest


@pytest.fixture(scope="session")
def strategy_results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each of the processes of strategy_runs.py has noted of its runs, by rank."""
    from strategy_runs import in_processes  # torch: only where it is needed

    return in_processes(tmp_path_factory.mktemp("strategies"))
