"""Docstrings and names that are clear by themselves."""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from import_arrows import LIBRARY
from places import REPOSITORY, SCRIPTS

UNCLEAR = re.compile(r"(What|How|Whether|Of|As|Where|That|Who|Whose|The same)\b")
SOURCES = [
    *SCRIPTS.rglob("*.py"),
    *(REPOSITORY / "comparisons").glob("*.py"),
    *(REPOSITORY / "tests" / "helpers").glob("*.py"),
]


def documented(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the docstring of a module and of what it defines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", path.name), text


@pytest.mark.parametrize(
    "wing",
    sorted({path.relative_to(REPOSITORY).parent.as_posix() for path in SOURCES}),
)
def test_the_first_line_of_each_docstring_is_clear_by_itself(wing):
    unclear = [
        f"{path.name}: {name}: {text.splitlines()[0]}"
        for path in SOURCES
        if path.relative_to(REPOSITORY).parent.as_posix() == wing
        for name, text in documented(path)
        if UNCLEAR.match(text)
    ]
    assert unclear == []


def test_class_names_of_the_library_are_unique():
    names = Counter(
        node.name
        for path in LIBRARY.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def descriptions(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "description" and isinstance(value, str):
                yield value
            else:
                yield from descriptions(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from descriptions(value)


def test_the_description_of_each_key_is_clear_by_itself():
    found = list(descriptions(json.loads((REPOSITORY / "config" / "schema.json").read_text())))
    assert len(found) > 100
    assert [text for text in found if UNCLEAR.match(text)] == []


def test_captions_begin_with_words_that_are_clear_by_themselves():
    captions = sorted((REPOSITORY / "workflow" / "report").glob("*.rst"))
    assert captions
    assert [path.name for path in captions if UNCLEAR.match(path.read_text().lstrip())] == []
