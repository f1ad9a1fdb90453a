"""The code of each stage as a hash, and the record of the hashes beside the stages' versions.

A stage's version is raised when a change of its code changes its results. When the code of a stage
has changed, tests/unit/planning/test_stage_versions.py fails until either its version in
ddpm_bench/config/versions.py is raised, or it has been shown that results are the same; then

    python tests/helpers/stage_code.py --record

writes the new hashes down.
"""

import argparse
import ast
import functools
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from places import REPOSITORY, SCRIPTS

RECORD = REPOSITORY / "tests" / "helpers" / "stage_code.json"

PROGRAMS = {
    "fetch": ["fetch.py"],
    "prepare": ["prepare.py"],
    "classifier": ["train_classifier.py"],
    "train": ["train.py"],
    "autoencoder": ["train.py", "validate.py"],
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
        "plot_first_scores.py",
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
    """Hash of all definitions of this repository that a stage's programs reach, however deep.

    Where a definition stands, comments, docstrings and the layout of the text do not count.
    """
    digests = {_digest(*found) for found in reached(stage)}
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def reached(stage: str) -> set[tuple[Path, str]]:
    """(file, name) of each top-level definition that the programs of a stage use, and what it uses.

    Statements at the top of a file that define nothing go by the name "" and count for every file
    of which something is reached.
    """
    waiting = [
        (SCRIPTS / program, name)
        for program in PROGRAMS[stage]
        for name in module(SCRIPTS / program).definitions
    ]
    found: set[tuple[Path, str]] = set()
    while waiting:
        path, name = waiting.pop()
        if (path, name) in found:
            continue
        found.add((path, name))
        waiting.append((path, ""))
        waiting += _uses(path, name)
    return found


@dataclass
class Module:
    """A file's top-level definitions by name, and its imports: what each name stands for."""

    definitions: dict[str, list[ast.AST]]
    own: dict[str, tuple[Path, str | None]]  # of this repository: the file, and the name in it
    foreign: dict[str, str]


@functools.cache
def module(path: Path) -> Module:
    found = Module({"": []}, {}, {})
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            _add_imports(found, node, path)
    for node in tree.body:
        for name in _names_defined(node):
            found.definitions.setdefault(name, []).append(node)
    return found


def _names_defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [
            name.id
            for target in targets
            for name in ast.walk(target)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        ]
        return names or [""]
    if isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node):
        return []
    return [""]


def _add_imports(found: Module, node: ast.Import | ast.ImportFrom, path: Path) -> None:
    for alias in node.names:
        bound = alias.asname or alias.name.split(".")[0]
        if isinstance(node, ast.Import):
            found.foreign[bound] = alias.name if alias.asname else bound
            continue
        base = path.parents[node.level - 1] if node.level else SCRIPTS
        base = base.joinpath(*(node.module or "").split(".")) if node.module else base
        if (file := base / f"{alias.name}.py").is_file():
            found.own[bound] = (file, None)
        elif (file := base.with_suffix(".py")).is_file():
            found.own[bound] = (file, alias.name)
        else:
            # Also what the package itself defines: its version is none of a stage's results.
            within = base.relative_to(SCRIPTS).as_posix() if node.level else node.module
            found.foreign[bound] = f"{within}.{alias.name}"


def _definition(path: Path, name: str) -> tuple[Path, str]:
    """Return the file and the name of a definition, through files that import it from another."""
    while name not in module(path).definitions and name in module(path).own:
        path, further = module(path).own[name]
        name = further or ""
    return path, name


def _own_name(node: ast.AST, path: Path) -> tuple[Path, str] | None:
    """The definition that an expression names, `name` or `module.name`; None if it names none."""
    known = module(path)
    if isinstance(node, ast.Name):
        if node.id in known.definitions:
            return path, node.id
        file, name = known.own.get(node.id, (None, None))
        return None if file is None or name is None else _definition(file, name)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        file, name = known.own.get(node.value.id, (None, None))
        if file is not None and name is None:
            return _definition(file, node.attr)
    return None


def _uses(path: Path, name: str) -> list[tuple[Path, str]]:
    nodes = (node for top in module(path).definitions.get(name, ()) for node in ast.walk(top))
    found = (_own_name(node, path) for node in nodes)
    return [definition for definition in found if definition is not None]


@functools.cache
def _digest(path: Path, name: str) -> str:
    digest = hashlib.sha256()
    for node in module(path).definitions.get(name, ()):
        for token in _tokens(node, path):
            digest.update(token.encode() + b"\0")
    return digest.hexdigest()


def _tokens(node: object, path: Path) -> Iterator[str]:
    """A definition as text that does not differ between Python versions.

    `ast.dump` does: newer versions have more fields, empty ones. None and [] are passed over. A
    definition of this repository goes by its own name, a name of a package with what it stands for.
    """
    if isinstance(node, ast.AST):
        if (definition := _own_name(node, path)) is not None:
            yield f"own {definition[1]}"
            return
        if isinstance(node, ast.ImportFrom) and _imports_own(node, path):
            return
        yield type(node).__name__
        if isinstance(node, ast.Name) and node.id in module(path).foreign:
            yield module(path).foreign[node.id]
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(value, list):
                value = [item for item in value if not _is_text(item)]
            if value is not None and value != []:
                yield name
                yield from _tokens(value, path)
    elif isinstance(node, list):
        for item in node:
            yield from _tokens(item, path)
        yield "end"
    else:
        yield repr(node)


def _imports_own(node: ast.ImportFrom, path: Path) -> bool:
    return any((alias.asname or alias.name) in module(path).own for alias in node.names)


def _is_text(node: object) -> bool:
    """True for a statement that is a bare string: a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def current() -> dict[str, dict[str, object]]:
    """Version and code hash of every stage as they are now."""
    sys.path.insert(0, str(SCRIPTS))
    from ddpm_bench.config.versions import VERSIONS

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
