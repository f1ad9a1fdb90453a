"""Files of rules: what each opens with, and how its rules ask for resources."""

import ast
import re
from pathlib import Path

import pytest
from import_arrows import LIBRARY
from places import REPOSITORY

FILES = sorted(Path(REPOSITORY, "workflow", "rules").glob("*.smk"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_file_of_rules_opens_with_in_out_and_the_wing(path):
    text = re.match(r'""".*?"""', path.read_text(), re.S)
    assert text is not None
    opening = ast.literal_eval(text[0])
    assert re.search(r"^In:  \S.*^Out: \S.*^By:  ddpm_bench/\w+", opening, re.M | re.S)
    wings = re.search(r"^By:  ddpm_bench/(.+)$", opening, re.M)[1].split(", ")
    assert [wing for wing in wings if not (LIBRARY / wing).is_dir()] == []


def test_rules_ask_for_memory_and_time_by_name():
    asked = re.compile(r"^ +(?:mem_mb|runtime|threads|how)[=:] ?lambda", re.M)
    assert [path.name for path in FILES if asked.search(path.read_text())] == []
