"""The code of each stage as a hash, and the record of the hashes beside the stages' versions.

A stage's version is raised when a change of its code changes its results. When the code of a stage
has changed, tests/unit/test_stage_versions.py fails until either its version in
ddpm_bench/stages.py is raised, or it has been shown that results are the same; then

    python tests/stage_code.py --record

writes the new hashes down.
"""

import argparse
import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = REPOSITORY / "workflow" / "scripts"
RECORD = REPOSITORY / "tests" / "stage_code.json"

PROGRAMS = {
    "fetch": ["fetch.py"],
    "prepare": ["prepare.py"],
    "classifier": ["train_classifier.py"],
    "train": ["train.py"],
    "encode": ["encode.py"],
    "reconstruct": ["reconstruct.py"],
    "schedule": ["plot_schedule.py"],
    "validate": ["validate.py"],
    "sample": ["sample.py"],
    "grid": ["sample_grid.py"],
    "features": ["reference_features.py"],
    "score": ["score.py"],
    "collect": ["collect.py"],
    "thin": ["thin.py"],
    "plot": [
        "plot_scores.py",
        "plot_loss.py",
        "plot_samples.py",
        "plot_closest_pairs.py",
        "plot_reconstructions.py",
    ],
    "trajectory": ["plot_trajectory.py"],
    "samplers": ["plot_samplers.py"],
    "compare": ["compare.py"],
    "best": ["best.py"],
    "hours": ["compare_hours.py"],
    "losses": ["compare_losses.py"],
    "bests": ["plot_best_scores.py"],
    "costs": ["costs.py"],
    "sweep": ["sweep.py"],
    "cell": ["measure_cell.py"],
    "throughput": ["collect_throughput.py", "plot_throughput.py"],
}


def stage_hash(stage: str) -> str:
    """The hash of all code of this repository that a stage's programs import, however deep.

    Comments, docstrings and the layout of the text do not count.
    """
    found: dict[Path, ast.Module] = {}
    for program in PROGRAMS[stage]:
        _collect(SCRIPTS / program, found)
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(path.relative_to(SCRIPTS).as_posix().encode())
        for token in _tokens(found[path]):
            digest.update(token.encode() + b"\0")
    return digest.hexdigest()


def _collect(path: Path, found: dict[Path, ast.Module]) -> None:
    if path in found or not path.is_file():
        return
    found[path] = ast.parse(path.read_text())
    for node in ast.walk(found[path]):
        for imported in _imported_files(node, path):
            _collect(imported, found)


def _imported_files(node: ast.AST, path: Path) -> Iterator[Path]:
    if isinstance(node, ast.ImportFrom):
        if node.level:
            base = path.parents[node.level - 1]
            base = base.joinpath(*(node.module or "").split(".")) if node.module else base
        else:
            base = SCRIPTS.joinpath(*(node.module or "").split("."))
        yield base.with_suffix(".py")
        for alias in node.names:
            yield base / f"{alias.name}.py"
    elif isinstance(node, ast.Import):
        for alias in node.names:
            yield SCRIPTS.joinpath(*alias.name.split(".")).with_suffix(".py")


def _tokens(node: object) -> Iterator[str]:
    """A syntax tree as text that does not differ between Python versions.

    `ast.dump` does: newer versions have more fields, empty ones. None and [] are passed over.
    """
    if isinstance(node, ast.AST):
        yield type(node).__name__
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(value, list):
                value = [item for item in value if not _is_text(item)]
            if value is not None and value != []:
                yield name
                yield from _tokens(value)
    elif isinstance(node, list):
        for item in node:
            yield from _tokens(item)
        yield "end"
    else:
        yield repr(node)


def _is_text(node: object) -> bool:
    """Whether a statement is a bare string: a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def current() -> dict[str, dict[str, object]]:
    """Version and code hash of every stage as they are now."""
    sys.path.insert(0, str(SCRIPTS))
    from ddpm_bench.stages import VERSIONS

    return {
        stage: {"version": version, "code": stage_hash(stage)}
        for stage, version in VERSIONS.items()
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--record", action="store_true", help="write the hashes down")
    if options.parse_args().record:
        RECORD.write_text(json.dumps(current(), indent=2) + "\n")
        print(f"recorded in {RECORD}")


if __name__ == "__main__":
    main()
