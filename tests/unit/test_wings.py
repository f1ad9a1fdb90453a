"""The plan of the library: wings, which import one way only."""

import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from import_arrows import LIBRARY, ORDER, arrows, imported, modules
from places import SCRIPTS

TOP_FILES = {"__init__", "errors", "text", "files", "cli"}


def test_every_file_stands_in_a_wing_of_the_plan():
    at_the_top = {path.stem for path in LIBRARY.glob("*.py")}
    assert at_the_top == TOP_FILES
    assert set(arrows()) == set(ORDER)
    assert len(at_the_top) <= 10


@pytest.mark.parametrize("wing", ORDER)
def test_no_import_runs_to_a_later_wing(wing):
    later = ORDER[ORDER.index(wing) :]
    assert {target: who for target, who in arrows()[wing].items() if target in later} == {}


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: imported(path) for name, path in modules().items()}
    assert set(TopologicalSorter(graph).static_order()) == set(graph)  # a circle raises


def test_planning_loads_neither_torch_nor_numpy_nor_pandas():
    planning = [name for name in modules() if name.startswith("planning.")]
    assert len(planning) > 10
    code = "import sys\n" + "".join(f"import ddpm_bench.{name}\n" for name in planning)
    code += "print({'torch', 'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_packages_hold_a_docstring_and_nothing_else():
    packages = [path for path in LIBRARY.rglob("__init__.py") if path.parent != LIBRARY]
    assert packages
    assert [path for path in packages if len(path.read_text().splitlines()) != 1] == []
