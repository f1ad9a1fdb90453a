"""Messages for wrong values: each kind of error of pydantic in the words of a config's user."""

import difflib
import re
import typing
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ValidationError

from ddpm_bench.config.plain_data import shown

MOST_NAMES = 30  # in a list of what there is
MOST_COMPARED = 500  # names that one is compared with
LONGEST_COMPARED = 80  # characters

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
NAME_WORDS = (
    "a name, since it becomes a folder: letters, digits, `.`, `_` and `-`, beginning with a letter "
    "or digit"
)
SHA256_PATTERN = r"^[0-9a-f]{64}$"
# Kinds of values, by the error that a value of another kind is.
KINDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size"), "a whole number"),
    "int_from_float": "a whole number",
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "json_invalid": "JSON",
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("string_type", "string_unicode"), "text"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type"), "a block of keys"
    ),
}
# Limits, with the name of the limit in pydantic's error.
LIMITS = {
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
    "too_short": "a list or block of at least {min_length}",
    "too_long": "a list or block of at most {max_length}",
}
PATTERNS = {
    NAME_PATTERN: NAME_WORDS,
    SHA256_PATTERN: "a sha256: 64 digits and letters from a to f, as sha256sum prints it",
    r"^[0-9a-f]{40}$": "the full hash of a commit: 40 digits and letters from a to f",
    r"^(https|http|ssh|git|file)://": "an address that begins with https://, http://, ssh://, "
    "git:// or file://",
    r"^(https|http|ftp|file)://": "an address that begins with https://, http://, ftp:// or "
    "file://",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "the name of a Python function",
    r"^(classifier|inception(-[\w.-]+)?|dinov2-[\w.-]+)$": "a feature space of the tables: "
    "classifier, inception, inception-NAME or dinov2-NAME",
}


def in_our_words(errors: Iterable[Any]) -> str:
    """Return what is wrong with one value, and a remedy, from all of pydantic's errors on it.

    A value that may have several forms has an error for each of them.
    """
    errors = list(errors)
    own = [_own(error) for error in errors if error["type"] in ("value_error", "assertion_error")]
    if own:
        return " or ".join(dict.fromkeys(own))
    if all(error["type"] == "missing" for error in errors):
        return "is missing; add it"
    allowed = dict.fromkeys(text for error in errors for text in _allowed(error))
    hint = next((text for error in errors if (text := _hint(error))), "")
    if not allowed:
        return f"cannot have this value; give one that config/README.md allows{hint}"
    *others, last = allowed
    return f"must be {', '.join(others)}{' or ' if others else ''}{last}{hint}"


def described(error: ValidationError | OSError) -> str:
    """Return what is wrong with the keys of a single block, or with its file, on one line."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    parts = (
        f"{'.'.join(map(str, one['loc'])) or 'keys'}{_given(one)}: {in_our_words([one])}"
        for one in error.errors(include_url=False)
    )
    return "; ".join(parts)


def _given(error: Any) -> str:
    value = error["input"]
    return "" if isinstance(value, dict | BaseModel) else f" = {shown(value)}"


def _own(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _allowed(error: Any) -> Iterator[str]:
    """Yield what a value may be, as a noun with an article, where an error says so."""
    kind, details = error["type"], error.get("ctx", {})
    if kind in KINDS:
        yield KINDS[kind]
    elif kind in LIMITS:
        yield LIMITS[kind].format_map({key: _number(value) for key, value in details.items()})
    elif kind == "string_pattern_mismatch":
        yield PATTERNS.get(details["pattern"], "text of another form")
    elif kind == "extra_forbidden":
        yield "left out, for there is no such key"
    else:
        yield from choices(error)


def choices(error: Any) -> list[str]:
    """Return the values among which an error of pydantic says that one must choose."""
    details = error.get("ctx", {})
    listed = str(details.get("expected", details.get("expected_tags", "")))
    if error["type"] not in ("literal_error", "union_tag_invalid"):
        return []
    return [text or number for text, number in re.findall(r"'([^']*)'|(-?\d+)", listed)]


def _hint(error: Any) -> str:
    """Return a remedy for a value that was meant well, or an empty text."""
    kind, value = error["type"], error["input"]
    if kind in ("literal_error", "union_tag_invalid"):
        written = error.get("ctx", {}).get("tag", value)
        return nearest(str(written), choices(error)) if isinstance(written, str) else ""
    if kind.startswith(("int_", "float_")) and isinstance(value, str):
        number = number_meant(value, whole=kind.startswith("int_"))
        return f"; write {number}" if number else ""
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"; {misread(value)}"
    return ""


def number_meant(text: str, whole: bool) -> str | None:
    """Return the number that a text such as 1e5, 10% or 1,000 means, as YAML reads it; or None."""
    bare = text.strip().replace("_", "").replace(" ", "")
    if re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?", bare):
        bare = bare.replace(",", "")
    percent, bare = bare.endswith("%"), bare.removesuffix("%").replace(",", ".")
    try:
        number = Decimal(bare) / (100 if percent else 1)
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > 15:
        return None
    if number == number.to_integral_value():
        return str(int(number))
    return None if whole else f"{number.normalize():f}"


def misread(value: Any) -> str:
    """Return the remedy for a name or text that YAML reads as a number, true or false."""
    if isinstance(value, bool):
        words = "yes, on and true as true" if value else "no, off and false as false"
        return f'YAML reads {words}; quote what is a name or text: "{"yes" if value else "no"}"'
    return f'YAML reads this as a number; quote it: "{value}"'


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else f"{value}"


@lru_cache(maxsize=4096)
def _close(name: str, known: tuple[str, ...]) -> str | None:
    plain = {re.sub(r"[\W_]", "", one).casefold(): one for one in reversed(known)}
    bare = re.sub(r"[\W_]", "", name).casefold()
    found = difflib.get_close_matches(bare, list(plain), n=1, cutoff=0.6) if bare else []
    return plain[found[0]] if found else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the known name most like `name`, or an empty text."""
    compared = tuple(str(one)[:LONGEST_COMPARED] for one in list(known)[:MOST_COMPARED])
    close = _close(name[:LONGEST_COMPARED], compared)
    return f"; did you mean {close!r}?" if close else ""


def no_such(kind: str, name: Any, known: Iterable[str]) -> str:
    """Return a message for an unknown name, with the most similar and all known names."""
    known = list(map(str, known))
    there_are = ", ".join(known[:MOST_NAMES]) or "none"
    more = f" and {len(known) - MOST_NAMES:,} more" if len(known) > MOST_NAMES else ""
    close = nearest(str(name), known)
    return f"{shown(name)}: no such {kind}{close}; there are: {there_are}{more}"


def tags(annotation: Any, key: str) -> list[str]:
    """Return the values of the key by which the members of a union of blocks differ."""
    fields = getattr(annotation, "model_fields", {})
    if key in fields:
        return [str(value) for value in typing.get_args(fields[key].annotation)]
    return [tag for part in typing.get_args(annotation) for tag in tags(part, key)]
