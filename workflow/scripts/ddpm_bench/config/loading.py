"""Reading of the config file: merging the defaults, and reporting all wrong keys at once."""

import types
import typing
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Union

import yaml
from pydantic import BaseModel, ValidationError

from ddpm_bench.config.consistency import cross_references
from ddpm_bench.config.experiment import Config, Experiment
from ddpm_bench.config.messages import in_our_words, nearest, tags
from ddpm_bench.config.paths import paths_written_out
from ddpm_bench.config.plain_data import (
    MOST_VALUES,
    TOO_MANY,
    count_values,
    impossible_values,
    shown,
)
from ddpm_bench.config.reading import read_plain
from ddpm_bench.config.sweep_members import SweptExperiment, expand_sweeps, grouped_by_sweep
from ddpm_bench.errors import UserError
from ddpm_bench.files import sha256_text, write_text

UNIONS = (Union, types.UnionType)
MOST_FOUND = 1000  # problems of a kind that are described
MOST_LISTED = 50  # problems in a message


def read_config(path: Path) -> Config:
    """Read and check a config file. Raises UserError with every wrong key in it."""
    return check_config(read_plain(path), origin=str(path))


def check_config(raw: Any, origin: str = "config") -> Config:
    """Check a parsed config and return it as types.

    Raises UserError with every wrong key: path, value, remedy.
    """
    if not isinstance(raw, dict):
        raise UserError(f"{origin}: must be a mapping of keys such as `datasets` and `experiments`")
    _refuse(origin, [TOO_MANY] if count_values(raw) > MOST_VALUES else [])
    _refuse(origin, list(islice(impossible_values(raw), MOST_FOUND)))
    _refuse(origin, [TOO_MANY] if _values_with_defaults(raw) > MOST_VALUES else [])
    merged, sweeps, problems = expand_sweeps(with_defaults(raw), Experiment)
    problems += islice(cross_references(merged), MOST_FOUND)
    config = None
    try:
        config = Config.model_validate(merged)
        config._sweeps = sweeps
    except ValidationError as error:
        found = error.errors(include_url=False)[:MOST_FOUND]
        problems += _describe(found, _as_written(raw, sweeps))
    # A wrong default is found once per experiment, a wrong key of a sweep once per member.
    _refuse(origin, list(dict.fromkeys(grouped_by_sweep(problems, sweeps))))
    assert config is not None
    return config


def _refuse(origin: str, problems: list[str]) -> None:
    """Raise UserError with a line for each problem, if there are any."""
    if not problems:
        return
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    listing = "\n".join(f"  {problem}" for problem in problems[:MOST_LISTED])
    if len(problems) > MOST_LISTED:
        listing += f"\n  and {len(problems) - MOST_LISTED:,} more"
    raise UserError(f"{origin} has {count}:\n{listing}\nEvery key: config/README.md")


def _values_with_defaults(raw: dict[str, Any]) -> int:
    """Return the number of values once `defaults` are merged under each experiment."""
    experiments = raw.get("experiments")
    copies = len(experiments) if isinstance(experiments, dict) else 0
    return count_values(raw) + copies * count_values(raw.get("defaults"))


def with_defaults(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the parsed config with `defaults` merged under each experiment."""
    defaults, experiments = raw.get("defaults") or {}, raw.get("experiments")
    if not isinstance(defaults, dict) or not isinstance(experiments, dict):
        return raw
    merged = {
        name: _merge(defaults, experiment) if isinstance(experiment, dict) else experiment
        for name, experiment in experiments.items()
    }
    return {**raw, "defaults": defaults, "experiments": merged}


def _as_written(raw: dict[str, Any], sweeps: dict[str, SweptExperiment]) -> dict[str, Any]:
    """Return the parsed config without defaults, each member with the keys of its sweep."""
    if not sweeps:
        return raw
    written = dict(raw["experiments"])
    for name, found in sweeps.items():
        written |= dict.fromkeys(found.members, raw["experiments"][name])
    return {**raw, "experiments": written}


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = (
            _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return merged


def _describe(errors: list[Any], raw: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each wrong key: its path, value, allowed values, most similar key."""
    by_path: dict[tuple[str, type | None], list[Any]] = {}
    annotations: dict[str, Any] = {}
    for error in errors:
        path, block, annotations[path] = _written_path(error["loc"], raw)
        by_path.setdefault((path, block), []).append(error)
    for (path, block), group in by_path.items():
        # If a value that may be a block is one, only the errors inside the block are of use.
        group = [error for error in group if error["type"] == "value_error"] or group
        error = group[0]
        of_the_block = error["type"] != "value_error" and "[key]" not in error["loc"]
        if of_the_block and any(other.startswith(f"{path}.") for other, _ in by_path):
            continue
        if error["type"] == "extra_forbidden":
            fields = block.model_fields if block else {}
            known = [field.alias or name for name, field in fields.items()]
            close = nearest(str(error["loc"][-1]), known)
            yield f"{path}: unknown key{close}; allowed: {', '.join(known)}"
        else:
            yield _line(path, annotations[path], group)


def _line(path: str, annotation: Any, group: list[Any]) -> str:
    """Return the line of a wrong value: its path, the value, and what it may be."""
    error = group[0]
    value, details = error["input"], error.get("ctx", {})
    given = f" = {shown(value)}"
    # A missing key has no value, a block is too long to be shown, and a name stands in the path.
    if isinstance(value, dict | BaseModel) or "[key]" in error["loc"]:
        given = ""
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        key = details["discriminator"].strip("'")
        path = f"{path}.{key}"
        if error["type"] == "union_tag_not_found":
            return f"{path}: is missing; give one of {', '.join(tags(annotation, key))}"
        given = f" = {shown(details['tag'])}"
    return f"{path}{given}: {in_our_words(group)}"


def _written_path(location: tuple[int | str, ...], raw: Any) -> tuple[str, type | None, Any]:
    """Return the key path as the user wrote it, the block of its last key, and its annotation.

    pydantic's location also names the chosen member of a union, which is left out. A key that an
    experiment takes from `defaults` is given with its path there.
    """
    path: list[str] = []
    here: Any = Config
    block = None
    for part in location:
        if part == "[key]":
            continue
        if isinstance(here, type) and issubclass(here, BaseModel):
            block = here
            field = here.model_fields.get(str(part))
            here = _bare(field.annotation) if field else None
        elif typing.get_origin(here) is dict:
            here = _bare(typing.get_args(here)[1])
        elif typing.get_origin(here) is tuple and isinstance(part, int):
            here = _bare(typing.get_args(here)[0])
        elif typing.get_origin(here) in UNIONS:
            members = map(_bare, typing.get_args(here))
            here = next((member for member in members if _is_meant(member, part)), None)
            continue
        elif here is None and not isinstance(part, int):
            continue
        path.append(str(part))
    if (
        path[:1] == ["experiments"]
        and not _is_in(raw, path)
        and _is_in(raw, ["defaults", *path[2:]])
    ):
        path = ["defaults", *path[2:]]
    names = [part if part and part.isprintable() else repr(part) for part in path]
    return ".".join(names), block, here


def _bare(annotation: Any) -> Any:
    """Return an annotation without its metadata and without None."""
    if typing.get_origin(annotation) is Annotated:
        return _bare(typing.get_args(annotation)[0])
    members = typing.get_args(annotation) if typing.get_origin(annotation) in UNIONS else ()
    if len(members) == 2 and types.NoneType in members:
        return _bare(next(member for member in members if member is not types.NoneType))
    return annotation


def _is_meant(member: Any, tag: int | str) -> bool:
    """Return True for the member of a union that pydantic's location names by `tag`.

    tag: its `kind` (source) or `name` (model), or for another block
    `function-after[_fits_together(), CheckpointRange]`.
    """
    fields = getattr(member, "model_fields", {})
    if fields and str(tag).endswith(f" {member.__name__}]"):
        return True
    return any(
        tag in typing.get_args(fields[key].annotation) for key in ("kind", "name") if key in fields
    )


def _is_in(raw: Any, path: list[str]) -> bool:
    for key in path:
        if not isinstance(raw, dict) or key not in raw:
            return False
        raw = raw[key]
    return len(path) > 0


ABBREVIATED = 16  # hexadecimal digits of a name


def frozen_config(raw: dict[str, Any], folder: Path) -> Path:
    """Write a parsed config into `folder` under a hash of its content; return the absolute path.

    raw: the config after changes from the command line. Relative paths in it stay relative to the
    working directory, which jobs share; `~` and variables are replaced. A config that is already
    there is not written again.
    """
    text = yaml.safe_dump(paths_written_out(raw), sort_keys=False, allow_unicode=True)
    path = folder.absolute() / f"{sha256_text(text)[:ABBREVIATED]}.yaml"
    if not path.exists():
        write_text(path, text)
    return path
