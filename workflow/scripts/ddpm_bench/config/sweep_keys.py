"""Keys of a sweep: their places in an experiment, and their allowed values."""

import functools
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Union

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ddpm_bench.config.block import Block, truth_for_number
from ddpm_bench.config.messages import in_our_words, nearest, no_such

UNIONS = (Union, types.UnionType)
NEVER_SWEPT = {
    "run": "decides how a stage is run, which changes no result: sweep over other keys",
    "sweep": "is the sweep: sweep over other keys",
    "dataset": "decides which scores compare, and those of two datasets never do: write an "
    "experiment for each dataset, with the same sweep",
}


class NoSuchKeyError(Exception):
    """A path that cannot be swept; the message has the reason and a remedy."""


@dataclass(frozen=True)
class SweptKey:
    """A key of an experiment: the names in its path (a name may hold dots), and its field."""

    location: tuple[str, ...]
    field: FieldInfo

    @functools.cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        annotation = self.field.annotation
        for constraint in self.field.metadata:
            annotation = Annotated[annotation, constraint]
        return TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))

    def canonical(self, value: Any) -> Any:
        """Return the value as the experiment will hold it, as plain JSON: 0.001 for 1e-3.

        Raises ValueError with the allowed values for one that is not allowed.
        """
        if message := truth_for_number(value, self.field.annotation):
            raise ValueError(message)
        adapter = self._adapter
        try:
            return adapter.dump_python(adapter.validate_python(value), mode="json", by_alias=True)
        except ValidationError as error:
            raise ValueError(in_our_words(error.errors(include_url=False))) from None


def swept_key(experiment_model: type[Block], experiment: dict[str, Any], path: str) -> SweptKey:
    """Find a dotted path in an experiment, as parsed and merged with the defaults.

    Raises NoSuchKeyError if there is no such key, or it cannot be swept.
    """
    blocks: list[type[Block]] = [experiment_model]
    here: Any = experiment
    location: list[str] = []
    rest = path
    while True:
        key, _, rest = rest.partition(".")
        if key in NEVER_SWEPT:
            raise NoSuchKeyError(f"`{key}` {NEVER_SWEPT[key]}")
        field = _field(blocks, key)
        location.append(key)
        here = here.get(key) if isinstance(here, dict) else None
        if typing.get_origin(field.annotation) is dict:
            name, rest = _named(here, rest, ".".join(location))
            location.append(name)
            here = here[name]
            blocks = _blocks(typing.get_args(field.annotation)[1], here)
        else:
            blocks = _blocks(field.annotation, here)
            if not rest and not (blocks and _is_block_only(field.annotation)):
                return SweptKey(tuple(location), field)
        if not rest:
            known = ", ".join(name for block in blocks for name in _names(block))
            raise NoSuchKeyError(f"is a block: name one of its keys ({known})")
        if not blocks:
            raise NoSuchKeyError(f"`{'.'.join(location)}` has no keys; remove `.{rest}`")


def _field(blocks: list[type[Block]], key: str) -> FieldInfo:
    for block in blocks:
        if key in _names(block):
            return _names(block)[key]
    known = [name for block in blocks for name in _names(block) if name not in NEVER_SWEPT]
    listed = ", ".join(dict.fromkeys(known))
    raise NoSuchKeyError(f"unknown key `{key}`{nearest(key, known)}; allowed: {listed}")


def _names(block: type[Block]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in block.model_fields.items()}


def _named(blocks: Any, rest: str, where: str) -> tuple[str, str]:
    """Split a path into the name of a set or score and the rest of the path."""
    names = list(blocks) if isinstance(blocks, dict) else []
    for name in sorted(names, key=len, reverse=True):
        if rest == name or rest.startswith(f"{name}."):
            return name, rest[len(name) + 1 :]
    raise NoSuchKeyError(f"{where}.{no_such('name', rest.partition('.')[0], names)}")


def _blocks(annotation: Any, value: Any) -> list[type[Block]]:
    """Return the blocks that a key may hold; of networks only the one that the value names."""
    if typing.get_origin(annotation) is Annotated:
        return _blocks(typing.get_args(annotation)[0], value)
    if typing.get_origin(annotation) in UNIONS:
        found = [block for part in typing.get_args(annotation) for block in _blocks(part, value)]
        name = value.get("name") if isinstance(value, dict) else None
        meant = [block for block in found if _is_called(block, name)]
        return meant or found
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [typing.cast(type[Block], annotation)]
    return []


def _is_called(block: type[Block], name: Any) -> bool:
    field = block.model_fields.get("name")
    return field is not None and name in typing.get_args(field.annotation)


def _is_block_only(annotation: Any) -> bool:
    """Return True if a key holds only blocks, and never null, a number or a list."""
    if typing.get_origin(annotation) is Annotated:
        return _is_block_only(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in UNIONS:
        return all(_is_block_only(part) for part in typing.get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
