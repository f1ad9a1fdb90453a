"""Programs answer --help without loading torch, which takes seconds."""

import ast
import functools

import pytest
from places import SCRIPTS

SLOW = {"torch", "diffusers", "torch_fidelity", "transformers", "denoising_diffusion_pytorch"}


@functools.cache
def imports(path):
    """Return the packages and the files of the library that a file imports when it is loaded."""
    packages, files = set(), set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            packages.add(node.module.split(".")[0])
            base = SCRIPTS.joinpath(*node.module.split("."))
            modules = [base.with_suffix(".py"), *(base / f"{name.name}.py" for name in node.names)]
            files |= {module for module in modules if module.is_file()}
    return packages, files


def packages_at_start(program):
    """Return the packages that a program loads before its own first line runs."""
    waiting, loaded, packages = [program], set(), set()
    while waiting:
        path = waiting.pop()
        if path not in loaded:
            loaded.add(path)
            packages |= imports(path)[0]
            waiting += imports(path)[1]
    return packages


@pytest.mark.parametrize("program", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_help_of_a_program_does_not_wait_for_torch(program):
    assert packages_at_start(program) & SLOW == set()


def test_imports_are_followed_through_the_library():
    trainer = SCRIPTS / "ddpm_bench" / "training" / "trainer.py"
    assert {"torch", "ddpm_bench"} <= packages_at_start(trainer)
    assert "pydantic" in packages_at_start(SCRIPTS / "sample.py")
