"""Config files with a mistake: each is either valid, or refused in one message that names a key."""

import datetime
import json
import random
import time
from pathlib import Path

import pytest
import yaml
from places import REPOSITORY

from ddpm_bench.config.loading import read_config
from ddpm_bench.errors import UserError

CONFIGS = sorted((REPOSITORY / "config").rglob("*.yaml"))
KEYS = ("datasets", "autoencoders", "defaults", "experiments", "benchmark", "_dir", "keys")
MUTATIONS = 500
MOST_SECONDS = 5  # of the processor, for one file
# fmt: off
WORDS_OF_PYDANTIC = (
    "Input should", "valid integer", "valid number", "valid string", "Value error",
    "Field required", "Extra inputs", "String should", "should have at", "should match",
    "unable to parse", "Keys should", "pydantic", "validation error", "function-after", "NoneType",
)
VALUES = [
    None, True, False, 0, -1, 1, 7, 1.5, -0.0, 10**6, 2 * 10**9, 3 * 10**8, 10**30, -(10**30),
    10**400, 2**63, 1e308, 5e-324, float("inf"), float("nan"), "", " ", "x", "1e5", "10%", "1,000",
    "0,5", "64", "1e999", "٣", "UNet", "a b", "{x}", "no", "null", "~", "~/images", "$HOME/x",
    "$NO_SUCH_NAME/x", "..", "a/b", "a\nb", "a\0b", "é", "x" * 5000, [], [1], ["x"], [[]], [None],
    [True], [1, 1], {}, {"x": 1}, {"name": "x"}, {"kind": 3},
    {"from": 1, "to": 10**9, "every": 1}, [{"from": 9 * 10**4, "to": 0, "every": 1}],
    {"method": "random", "count": 99, "keys": {"train.seed": {"from": 0, "to": 5}}},
    {"keys": {"train.batch_size": [8, "1e2"], "model.dim": [8, 12]}},
    {"keys": {"train.seed": [True]}}, datetime.date(2020, 1, 1), b"bytes", {1, 2}, {2020: "x"},
    {False: 1}, {"a b": {}}, list(range(3000)),
]
NAMES = ["2020", "no", "a b", "{x}", "", "x" * 90, "2020-01-01", "UNet", "..", "é", "steps", "a\0b"]
INSERTED = [b"\xe9", b"\t", b"\0", b"{", b"'", b": ", b"*a", b"&a ", b"\r", b"- "]
# fmt: on


def paths(data, path=()):
    """Yield the path of every value of parsed data."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from paths(value, (*path, key))


def mutated(text: str, draw: random.Random) -> tuple[bytes, tuple]:
    """Return the bytes of a config with one mistake, and the path where it was made."""
    data = yaml.load(text, yaml.CSafeLoader)
    path = draw.choice(list(paths(data)))
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    last, kind = path[-1], draw.randrange(10)
    if kind <= 3:
        parent[last] = draw.choice(VALUES)
    elif kind == 4 and isinstance(parent, dict):
        parent[draw.choice(NAMES) if draw.random() < 0.7 else 2020] = parent.pop(last)
    elif kind == 5 and isinstance(parent, dict):
        del parent[last]
    elif kind == 6 and isinstance(parent[last], int | float):
        parent[last] *= draw.choice([-1, 0.5, 10**3, 10**7, 10**12, 10**25])
    elif kind == 7:
        times, (start, end) = (
            draw.choice([1, 2, 99, 3000]),
            draw.choice([("[", "]"), ('{"x": ', "}")]),
        )
        nested = start * times + json.dumps(parent[last]) + end * times
        parent[last] = "@@"
        return json.dumps(data).replace('"@@"', nested).encode(), path
    elif kind == 8:
        spot = draw.randrange(len(text))
        inserted = draw.choice(
            [b"\xe9", b"\t", b"\0", b"{", b"'", b": ", b"*a", b"&a ", b"\r", b"- "]
        )
        return text[:spot].encode() + inserted + text[spot:].encode(), ()
    else:
        lines = text.splitlines(keepends=True)
        spot = draw.randrange(len(lines))
        lines.insert(spot, lines[draw.randrange(len(lines))])
        return "".join(lines).encode(), ()
    return yaml.dump(data, Dumper=yaml.CSafeDumper, allow_unicode=True).encode(), path


@pytest.mark.parametrize("part", range(5))
def test_a_mistake_is_one_message_that_names_a_key(tmp_path, part):
    texts = [path.read_text() for path in CONFIGS]
    draw = random.Random(part)
    refused = 0
    for index in range(MUTATIONS // 5):
        data, path = mutated(draw.choice(texts), draw)
        file = tmp_path / f"{index}.yaml"
        file.write_bytes(data)
        started = time.process_time()
        message = message_of(file)
        assert time.process_time() - started < MOST_SECONDS, (index, path)
        if message is None:
            continue
        refused += 1
        assert not [words for words in WORDS_OF_PYDANTIC if words in message], (index, message)
        assert len(message) < 20_000 and "Traceback" not in message
        names = [str(key) for key in path if not isinstance(key, int)] or KEYS
        assert "line" in message or any(name in message for name in names), (index, path, message)
    assert refused > MUTATIONS // 5 // 3


def message_of(file: Path) -> str | None:
    """Return the message with which a config is refused; None for a valid one."""
    try:
        read_config(file)
    except UserError as error:
        return str(error)
    return None
