import os

from places import SCRIPTS


def test_every_program_can_be_called_by_its_name():
    programs = sorted(SCRIPTS.glob("*.py"))
    assert programs
    assert [path.name for path in programs if not os.access(path, os.X_OK)] == []
