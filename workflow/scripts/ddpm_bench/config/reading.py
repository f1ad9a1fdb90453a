"""Reading of a config file: YAML or JSON text to plain data, with the lines of what is wrong.

Snakemake reads the same files with a loader that lets the last of two equal keys win; its workflow
and all commands check them here first.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ddpm_bench.config.plain_data import (
    MOST_LEVELS,
    MOST_VALUES,
    TOO_DEEP,
    TOO_MANY,
    UNQUOTED_DATE,
    unquoted,
)
from ddpm_bench.errors import UserError

MOST_BYTES = 10**6
LONGEST_NUMBER = 40  # characters; Python itself refuses to read numbers of more than 4,300 digits
# libyaml's is ten times as fast, and is missing from some builds of PyYAML.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
HALVES = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")  # of characters beyond 16 bits, in JSON
TAG = "tag:yaml.org,2002:"


def read_plain(path: Path) -> Any:
    """Return the content of a config file as plain data: dict, list, str, int, float, bool, None.

    Raises UserError with the line for a file that is not UTF-8 or not YAML, is too large or nested
    too deep, and for each key that is given twice or whose name YAML reads as something else.
    """
    text = _text(path)
    data = _json(text)
    if data is not None:  # with tabs and halves of characters, which are not allowed in YAML
        text = HALVES.sub("?", text.replace("\t", " "))
    try:
        _refuse_deep(path, text)
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        found = list(_Nodes().problems(node, ()))
        if found:
            listed = "\n".join(f"  {problem}" for problem in found)
            raise UserError(f"{path}:\n{listed}")
        return loader.construct_document(node) if data is None else data
    except yaml.YAMLError as error:
        raise UserError(f"{path}{_line_of(error)}: is not valid YAML: {_cause(error)}") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(
            f"{path.absolute()}: cannot be read ({error.strerror}); give an existing file"
        ) from None
    if len(data) > MOST_BYTES:
        raise UserError(
            f"{path}: has more than {MOST_BYTES:,} bytes, which no config needs; give a YAML file "
            "of keys such as `datasets` and `experiments`"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding, option = ("UTF-16", "utf-16") if utf16 else ("Latin-1", "latin1")
        raise UserError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as "
            f"UTF-8, from {encoding} for example with: "
            f"iconv -f {option} -t utf-8 {path} > utf-8.yaml"
        ) from None
    if control := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, control.start()) + 1
        raise UserError(f"{path}, line {line}: has the character {control[0]!r}; remove it")
    return text


def _json(text: str) -> Any:
    """Return the content of JSON text; None for other text. It reads 1e5 as a number, YAML not."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _refuse_deep(path: Path, text: str) -> None:
    """Raise UserError for text with more levels than can be read: PyYAML recurses for each."""
    level = 0
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            level += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            level -= 1
        if level > MOST_LEVELS:
            raise UserError(f"{path}, line {event.start_mark.line + 1}: {TOO_DEEP}")


class _Nodes:
    """A walk through YAML's nodes that finds what the data made of them no longer shows."""

    def __init__(self) -> None:
        self._values: dict[int, int] = {}  # of each node, where every alias counts as its content

    def problems(self, node: yaml.Node, path: tuple[str, ...]) -> Iterator[str]:
        """Yield a line for each problem; after one of size or of a circle only that."""
        try:
            count = self._count(node, ())
        except RecursionError as circle:
            yield str(circle)
            return
        if count > MOST_VALUES:
            yield TOO_MANY
            return
        yield from self._walk(node, path)

    def _count(self, node: yaml.Node, above: tuple[int, ...]) -> int:
        if id(node) in above:
            raise RecursionError(
                f"line {_line(node)}: an anchor (&) holds an alias (*) of itself; remove it"
            )
        if id(node) not in self._values:
            inside = (*above, id(node))
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            if isinstance(node, yaml.MappingNode):
                parts = [part for pair in node.value for part in pair]
            self._values[id(node)] = 1 + sum(self._count(part, inside) for part in parts)
        return self._values[id(node)]

    def _walk(self, node: yaml.Node, path: tuple[str, ...]) -> Iterator[str]:
        if id(node) in self._values:  # each node once: an anchor's content stands in one place
            del self._values[id(node)]
        else:
            return
        if isinstance(node, yaml.ScalarNode):
            yield from _wrong_scalar(node, path)
        elif isinstance(node, yaml.MappingNode):
            yield from self._walk_mapping(node, path)
        else:
            for index, item in enumerate(node.value):
                yield from self._walk(item, (*path, str(index)))

    def _walk_mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> Iterator[str]:
        lines: dict[str, list[int]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                yield (
                    f"{_place(path, key)}: a list or block stands where a key belongs; quote text "
                    'that begins with a bracket, such as "{x}"'
                )
                continue
            here = (*path, key.value)
            lines.setdefault(key.value, []).append(_line(key))
            if key.tag not in (f"{TAG}str", f"{TAG}merge"):
                yield f"{_place(here, key)}: {unquoted(key.value, _kind(key))}"
            yield from self._walk(value, here)
        for name, found in lines.items():
            if len(found) > 1:
                remedy = "write <<: [*one, *two]" if name == "<<" else "keep one"
                listed = f"{', '.join(map(str, found[:-1]))} and {found[-1]}"
                yield f"{'.'.join((*path, name))}: is given twice, in lines {listed}; {remedy}"


def _wrong_scalar(node: yaml.ScalarNode, path: tuple[str, ...]) -> Iterator[str]:
    """Yield the problem of a value that would be read as a date, or as too long a number."""
    kind = _kind(node)
    if kind == "a date":
        yield f"{_place(path, node)} = {node.value}: {UNQUOTED_DATE.format(node.value)}"
    elif kind == "a number" and len(node.value) > LONGEST_NUMBER:
        yield f"{_place(path, node)}: is a number of {len(node.value)} characters; shorten it"


def _kind(node: yaml.Node) -> str:
    numbers = dict.fromkeys(("int", "float"), "a number")
    names = {**numbers, "bool": "true or false", "timestamp": "a date"}
    return names.get(node.tag.removeprefix(TAG), node.tag.removeprefix(TAG))


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _place(path: tuple[str, ...], node: yaml.Node) -> str:
    return f"{'.'.join(path) or 'the file'} (line {_line(node)})"


def _line_of(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"


def _cause(error: yaml.YAMLError) -> str:
    parts = (getattr(error, "context", None), getattr(error, "problem", None))
    return ", ".join(part for part in parts if part) or str(error).splitlines()[0]
