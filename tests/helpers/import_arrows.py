"""Import arrows between the wings of the library.

    python tests/helpers/import_arrows.py

prints each wing with the wings that it imports, and the number of arrows. A wing is a folder of
ddpm_bench; the files beside the folders count as wings of their own.
"""

import ast
import functools
from pathlib import Path

from places import SCRIPTS

LIBRARY = SCRIPTS / "ddpm_bench"
# A wing imports only from wings before it.
ORDER = (
    *("errors", "text", "files", "cli"),
    *("config", "records", "machine", "images", "data", "planning", "models", "report"),
    *("training", "latents", "sampling", "export", "runs", "scoring", "throughput", "gpu_check"),
)


@functools.cache
def modules() -> dict[str, Path]:
    """Return the files of the library by dotted name, without the package: training.trainer."""
    paths = (path for path in LIBRARY.rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(LIBRARY).with_suffix("").parts): path for path in paths}


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """Return the dotted names of the library's modules that a file imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").partition(".")[0] == "ddpm_bench"
        ):
            module = node.module.partition(".")[2]
            names = (f"{module}.{alias.name}".lstrip(".") for alias in node.names)
            found |= {name for name in (module, *names) if name in modules()}
    return frozenset(found)


def wing_of(module: str) -> str:
    return module.partition(".")[0]


def arrows() -> dict[str, dict[str, set[str]]]:
    """Return, for each wing, the other wings that it imports and the modules that do so."""
    found: dict[str, dict[str, set[str]]] = {wing_of(module): {} for module in modules()}
    for module, path in modules().items():
        for target in map(wing_of, imported(path)):
            if target != wing_of(module):
                found[wing_of(module)].setdefault(target, set()).add(module)
    return found


def main() -> None:
    found = arrows()
    for wing in ORDER:
        print(f"{wing:11} <- {', '.join(sorted(found[wing], key=ORDER.index))}")
    print(f"{sum(map(len, found.values()))} arrows between {len(ORDER)} wings and files at the top")


if __name__ == "__main__":
    main()
