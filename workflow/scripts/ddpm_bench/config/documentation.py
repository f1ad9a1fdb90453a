"""Reference of the config file and its JSON schema, generated from the models."""

import inspect
import json
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ddpm_bench.config.block import Block
from ddpm_bench.config.experiment import Config

HEAD = """# The config file: every key

Generated from the models in `workflow/scripts/ddpm_bench/config/` by `make docs`; a test keeps it
current. [config.yaml](config.yaml) is a complete example, the demo. Editors that speak JSON schema
(VS Code with the YAML extension, for one) complete and check keys when the file begins with
`# yaml-language-server: $schema=schema.json`.

**What and how.** Keys of a `run:` block decide how a stage is run (processes, cores, division into
jobs): changing them never makes a result stale. All other keys decide what is computed: changing
one runs again exactly the stages that read it and those that depend on them. Raising `train.steps`
trains only the new steps; raising `images` draws only the new images; new sets and scores touch
nothing else.

`defaults:` is merged under every experiment, block by block; an experiment's own keys win.
Names of datasets, experiments, sets, scores and models are letters, digits and `. _ -`.
Paths may begin with `~` and hold environment variables, `$NAME` or `${NAME}`.
"""


def config_reference() -> str:
    """Return config/README.md as Markdown: a table of keys per block."""
    return "\n".join([HEAD, *_blocks(Config, "the file itself", set())])


def config_schema() -> str:
    """Return the JSON schema of the config file, for editors."""
    schema = Config.model_json_schema()
    # Keys of an experiment may come from `defaults`, so an editor must not require them there.
    schema["$defs"]["Experiment"]["required"] = []
    schema["properties"]["defaults"] = {
        "$ref": "#/$defs/Experiment",
        "description": "Keys that are merged under every experiment.",
    }
    for block in ("Train", "Unet", "Unet2d"):  # autoencoders share Train, without defaults
        schema["$defs"][block].pop("required", None)
    return json.dumps(schema, indent=2) + "\n"


def _blocks(model: type[Block], where: str, seen: set[type]) -> Iterator[str]:
    """Yield the table of a block, then those of the blocks in it, as lines of Markdown."""
    if model in seen:
        return
    seen.add(model)
    yield f"\n## `{where}`\n" if where != "the file itself" else "\n## Top level\n"
    yield f"{inspect.getdoc(model) or ''}\n"
    yield "| key | value | default | meaning |\n|---|---|---|---|"
    for name, field in _own_first(model).items():
        cells = (f"`{field.alias or name}`", _kind(field), _default(field), field.description or "")
        yield f"| {' | '.join(cells)} |"
    for name, field in model.model_fields.items():
        for inner, path in _inner_models(field.annotation, name):
            prefix = "" if where == "the file itself" else f"{where}."
            yield from _blocks(inner, f"{prefix}{path}", seen)


def _own_first(model: type[Block]) -> dict[str, FieldInfo]:
    """Return the fields of a block: its own, then inherited ones, then `run`."""
    own = getattr(model, "__annotations__", {})
    fields = model.model_fields
    order = sorted(fields, key=lambda name: (name == "run", name not in own))
    return {name: fields[name] for name in order}


def _inner_models(annotation: Any, path: str) -> Iterator[tuple[type[Block], str]]:
    annotation = typing.get_args(annotation)[0] if _is(annotation, Annotated) else annotation
    if _is_block(annotation):
        yield annotation, path
    elif _is(annotation, dict):
        yield from _inner_models(typing.get_args(annotation)[1], f"{path}.<name>")
    elif _is(annotation, tuple) and _is_block(typing.get_args(annotation)[0]):
        yield typing.get_args(annotation)[0], f"{path}[]"
    elif _is(annotation, Union) or isinstance(annotation, types.UnionType):
        for member in typing.get_args(annotation):
            tag = _tag(member)
            names = ", ".join(_tag_values(member, tag)) if tag else ""
            yield from _inner_models(member, f"{path} ({tag}: {names})" if tag else path)


def _is_block(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tag(member: Any) -> str | None:
    """Return the key that selects a member of a union of blocks; None for another model."""
    return next((key for key in ("kind", "name") if _tag_values(member, key)), None)


def _tag_values(member: Any, key: str) -> tuple[str, ...]:
    field = getattr(member, "model_fields", {}).get(key)
    return typing.get_args(field.annotation) if field and _is(field.annotation, Literal) else ()


def _is(annotation: Any, origin: Any) -> bool:
    return typing.get_origin(annotation) is origin


def _kind(field: FieldInfo) -> str:
    """Return the allowed values of a key as text, with their bounds."""
    text = _type_text(field.annotation)
    found = [
        (sign, getattr(item, name))
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        for item in field.metadata
        if getattr(item, name, None) is not None
    ]
    below = [bound for bound in found if bound[0] in ">≥"]
    above = [bound for bound in found if bound[0] in "<≤"]
    tightest = [max(below, key=lambda bound: bound[1])] if below else []
    tightest += [min(above, key=lambda bound: bound[1])] if above else []
    bounds = [f"{sign} {value}" for sign, value in tightest]
    bounds += [
        f"multiple of {item.multiple_of}"
        for item in field.metadata
        if getattr(item, "multiple_of", None)
    ]
    return f"{text} ({', '.join(bounds)})" if bounds else text


def _type_text(annotation: Any) -> str:
    arguments = typing.get_args(annotation)
    if _is(annotation, Annotated):
        return _type_text(arguments[0])
    if _is(annotation, Literal):
        return ", ".join(f"`{value}`" for value in arguments)
    if _is(annotation, Union) or isinstance(annotation, types.UnionType):
        blocks = [item for item in arguments if isinstance(item, type) and issubclass(item, Block)]
        if len(blocks) > 1:
            return f"a block with `{_tag(blocks[0])}`"
        return " or ".join(dict.fromkeys(_type_text(item) for item in arguments))
    if _is(annotation, dict):
        return "named blocks" if arguments and arguments[1] is not Any else "a block"
    if _is(annotation, tuple) or _is(annotation, list):
        item = "blocks" if _is_block(arguments[0]) else _type_text(arguments[0])
        return f"list of {item}"
    if _is_block(annotation):
        return "a block"
    names = {int: "whole number", float: "number", str: "text", bool: "true, false"}
    return names.get(annotation, "null" if annotation is type(None) else str(annotation))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or isinstance(value, BaseModel) or value == {}:
        return ""
    return f"`{json.dumps(value)}`"
