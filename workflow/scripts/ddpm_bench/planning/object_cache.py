"""Cache of a method's values in its object."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")


def cached(method: Callable[..., Value]) -> Callable[..., Value]:
    """Compute a method's value once for each object and arguments.

    Values are kept in the object and freed with it, unlike those of functools.cache: a run of days
    makes many such objects.
    """

    @functools.wraps(method)
    def look_up(self: Any, *arguments: str) -> Value:
        values = self.__dict__.setdefault("_values", {})
        key = (method.__name__, *arguments)
        if key not in values:
            values[key] = method(self, *arguments)
        return values[key]

    return look_up
