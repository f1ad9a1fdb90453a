"""Code that changes results without a raised version would leave stale results behind."""

import ast
import json

import pytest
import stage_code

from ddpm_bench.stages import VERSIONS


@pytest.mark.parametrize("stage", VERSIONS)
def test_changed_code_comes_with_a_raised_version_or_a_new_record(stage):
    recorded = json.loads(stage_code.RECORD.read_text())[stage]
    now = {"version": VERSIONS[stage], "code": stage_code.stage_hash(stage)}
    assert now == recorded, (
        f"the code of stage {stage} has changed. If its results change, raise its version in "
        "ddpm_bench/stages.py; if you have shown that they do not, leave it. "
        "Then: python tests/stage_code.py --record"
    )


def test_every_stage_has_programs_and_every_version_a_record():
    recorded = json.loads(stage_code.RECORD.read_text())
    assert set(VERSIONS) == set(stage_code.PROGRAMS) == set(recorded)


def test_the_code_of_a_stage_includes_what_its_program_imports_inside_functions():
    found: dict = {}
    stage_code._collect(stage_code.SCRIPTS / "train.py", found)
    names = {path.stem for path in found}
    assert {"train", "training", "checkpoints", "randomness", "diffusion", "keys"} <= names
    assert "figures" not in names


def test_comments_docstrings_and_layout_do_not_count():
    before = 'def f(x):\n    """Says."""\n    return x+1  # why\n'
    after = "def f(x):\n    '''Says more.'''\n\n    # why not\n    return (x +\n        1)\n"
    changed = "def f(x):\n    return x + 2\n"
    tokens = [list(stage_code._tokens(ast.parse(text))) for text in (before, after, changed)]
    assert tokens[0] == tokens[1] != tokens[2]
