"""Limits of a parsed config: plain values with text as keys, few enough to be checked at once.

A config that reaches the checks has a bounded number of values and of levels, whatever was written:
so the checker answers within seconds.
"""

import datetime
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

MOST_LEVELS = 40  # no key lies deeper than twelve
MOST_VALUES = 100_000
MOST_SHOWN = 60  # characters of a value in a message
TOO_DEEP = f"is nested more than {MOST_LEVELS} levels deep, which no key is; close brackets before"
TOO_MANY = (
    f"has more than {MOST_VALUES:,} values (an alias counts as its content); make several configs "
    "with a results_dir each"
)
UNQUOTED_DATE = 'YAML reads this as a date; quote it: "{}"'


def unquoted(name: str, kind: str) -> str:
    """Return the message for a name that YAML reads as something else than text.

    kind: what it is read as, such as `a number`.
    """
    return f'a name must be text, and YAML reads this one as {kind}; quote it: "{name}"'


def count_values(value: Any) -> int:
    """Return the number of values in parsed data, keys among them; aliases count as their content.

    Stops counting above MOST_VALUES.
    """
    count, waiting = 0, [value]
    while waiting and count <= MOST_VALUES:
        here = waiting.pop()
        count += 1
        if isinstance(here, Mapping):
            count += len(here)
            waiting += here.values()
        elif isinstance(here, list | tuple):
            waiting += here
    return count


def impossible_values(value: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield a message for each value that no key of a config can have, and for what is too large.

    Plain data have mappings with text as keys, lists, text, finite numbers, true, false and null.
    """
    if len(path) > MOST_LEVELS:
        yield f"{'.'.join(path[:3])}: {TOO_DEEP}"
    elif isinstance(value, Mapping):
        for key, inside in value.items():
            if not isinstance(key, str):
                yield f"{_at(path, str(key))}: {unquoted(as_yaml(key), _kind(key))}"
            elif not _is_plain_text(key):
                yield f"{_at(path, repr(key))}: a name cannot have this character; remove it"
            else:
                yield from impossible_values(inside, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inside in enumerate(value):
            yield from impossible_values(inside, (*path, str(index)))
    else:
        reason = _impossible(value)
        if reason:
            yield f"{'.'.join(path)} = {shown(value)}: {reason}"


def _at(path: tuple[str, ...], key: str) -> str:
    return ".".join((*path, key))


def _impossible(value: Any) -> str | None:
    """Return the reason for which no key can have a value; None for a possible one."""
    if isinstance(value, float):
        return None if math.isfinite(value) else "must be finite; give a number"
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if abs(value) < 2**63 else "no key takes so large a number; lower it"
    if isinstance(value, str):
        return None if _is_plain_text(value) else "text cannot have this character; remove it"
    if isinstance(value, datetime.date | datetime.time):
        return UNQUOTED_DATE.format(value)
    return "must be text, a number, true, false, null, a list or a block of keys"


def _is_plain_text(text: str) -> bool:
    """Return False for text that neither a file nor a command can hold: NUL, lone surrogates."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return kinds.get(type(value), "a date" if isinstance(value, datetime.date) else "no text")


def as_yaml(value: Any) -> str:
    """Return a scalar as YAML has it: true and null, not True and None."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def shown(value: Any) -> str:
    """Return a value as it is shown in a message: on one line, and not too long."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**18:
        # Python writes no numbers of more than 4,300 digits.
        digits = len(str(abs(value))) if value.bit_length() < 10_000 else "thousands of"
        return f"a number of {digits} digits"
    text = as_yaml(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."
