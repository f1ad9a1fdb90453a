import os
import re

from places import SCRIPTS


def test_every_program_can_be_called_by_its_name():
    programs = sorted(SCRIPTS.glob("*.py"))
    assert programs
    assert [path.name for path in programs if not os.access(path, os.X_OK)] == []


def test_every_module_stands_in_the_map_for_contributors():
    page = (SCRIPTS.parents[1] / "CONTRIBUTING.md").read_text()
    shown = set(re.findall(r"\w+", page.split("data flows one way:")[1].split("\n`config`")[0]))
    modules = {path.stem for path in (SCRIPTS / "ddpm_bench").glob("*.py")} - {"__init__"}
    assert modules - shown == set()
    assert page.index(" sweep_summary,") < page.index(" summary,"), "which imports it"
