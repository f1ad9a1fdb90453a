"""Code that changes results without a raised version would leave stale results behind."""

import json

import pytest
import stage_code

from ddpm_bench.config.versions import VERSIONS


@pytest.mark.parametrize("stage", VERSIONS)
def test_changed_code_comes_with_a_raised_version_or_a_new_record(stage):
    recorded = json.loads(stage_code.RECORD.read_text())[stage]
    now = {"version": VERSIONS[stage], "code": stage_code.stage_hash(stage)}
    assert now == recorded, (
        f"the code of stage {stage} has changed. If its results change, raise its version in "
        "ddpm_bench/config/versions.py; if you have shown that they do not, leave it. "
        "Then: python tests/helpers/stage_code.py --record"
    )


def test_every_stage_has_programs_and_every_version_a_record():
    recorded = json.loads(stage_code.RECORD.read_text())
    assert set(VERSIONS) == set(stage_code.PROGRAMS) == set(recorded)


def test_the_code_of_a_stage_includes_what_its_program_imports_inside_functions():
    names = {name for _, name in stage_code.reached("train")}
    assert {"Trainer", "TrainingFolder", "batch_positions", "Optimizer", "what_keys"} <= names
    assert "plot_scores" not in names


PROGRAM = """
import numpy as np
from ddpm_bench.near import far_away, twice


def main():
    from ddpm_bench.near import later
    print(np.exp(twice(2)) + later(far_away))
"""
NEAR = """
from ddpm_bench import far
from .far import far_away


def twice(x):
    '''Says.'''
    return x * far.FACTOR  # why


def later(x):
    return x + 1


def unused():
    return 0
"""
FAR = "FACTOR = 2\nfar_away = 3\nOTHER = 4\n"


@pytest.fixture
def hash_of(tmp_path, monkeypatch):
    """Give the hash of a program and of the modules near.py and far.py beside it."""
    monkeypatch.setattr(stage_code, "SCRIPTS", tmp_path)
    monkeypatch.setitem(stage_code.PROGRAMS, "train", ["program.py"])

    def hashed(program=PROGRAM, **modules):
        for path in (tmp_path / "ddpm_bench").glob("*.py"):
            path.unlink()
        (tmp_path / "ddpm_bench").mkdir(exist_ok=True)
        (tmp_path / "program.py").write_text(program)
        for name, text in {"near": NEAR, "far": FAR, **modules}.items():
            (tmp_path / "ddpm_bench" / f"{name}.py").write_text(text)
        stage_code.module.cache_clear()
        stage_code._digest.cache_clear()
        return stage_code.stage_hash("train")

    yield hashed
    stage_code.module.cache_clear()
    stage_code._digest.cache_clear()


def test_comments_docstrings_layout_and_unused_code_do_not_count(hash_of):
    rewritten = NEAR.replace("'''Says.'''", "'''Says\n    more.'''\n").replace("why", "what")
    rewritten = rewritten.replace("x * far.FACTOR", "(x *\n      far.FACTOR)")
    assert rewritten != NEAR
    assert (
        hash_of() == hash_of(near=rewritten) == hash_of(near=NEAR.replace("return 0", "return 1"))
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [("x + 1", "x + 2"), ("x * far", "x + far")],
)
def test_code_that_is_used_counts(hash_of, before, after):
    assert hash_of() != hash_of(near=NEAR.replace(before, after))


def test_constants_that_are_used_count_wherever_they_stand(hash_of):
    assert hash_of() != hash_of(far=FAR.replace("FACTOR = 2", "FACTOR = 5"))
    assert hash_of() != hash_of(far=FAR.replace("far_away = 3", "far_away = 5"))
    assert hash_of() == hash_of(far=FAR.replace("OTHER = 4", "OTHER = 5"))


def test_what_a_name_of_a_package_stands_for_counts(hash_of):
    assert hash_of() != hash_of(program=PROGRAM.replace("numpy as np", "scipy as np"))


def test_a_definition_that_moves_to_another_module_leaves_the_hash_as_it_is(hash_of):
    moved = NEAR.replace("from ddpm_bench import far\n", "").replace("far.FACTOR", "FACTOR")
    moved = moved.replace("import far_away", "import FACTOR, far_away")
    moved = moved.replace("def later(x):\n    return x + 1\n", "")
    program = PROGRAM.replace("ddpm_bench.near import later", "ddpm_bench.other import later")
    other = "def later(x):\n    return x + 1\n"
    assert hash_of() == hash_of(program=program, near=moved, other=other)
