"""The whole config file: reading, merging the defaults, and reporting all that is wrong at once."""

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union

import yaml
from pydantic import BaseModel, ValidationError

from ddpm_bench.config.consistency import cross_references, nearest
from ddpm_bench.config.experiment import Config, Experiment
from ddpm_bench.config.sweep_members import SweptExperiment, expand_sweeps, grouped_by_sweep
from ddpm_bench.errors import UserError
from ddpm_bench.files import sha256_text, write_text

UNIONS = (Union, types.UnionType)


def read_config(path: Path) -> Config:
    """Read and check a config file. Raises UserError with every wrong key of it."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give an existing file"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not valid YAML: {error}") from None
    return check_config(raw, origin=str(path))


def check_config(raw: Any, origin: str = "config") -> Config:
    """Check a parsed config. Raises UserError with every wrong key: path, value, remedy."""
    if not isinstance(raw, dict):
        raise UserError(f"{origin}: must be a mapping of keys such as `datasets` and `experiments`")
    merged, sweeps, problems = expand_sweeps(with_defaults(raw), Experiment)
    problems += cross_references(merged)
    config = None
    try:
        config = Config.model_validate(merged)
        config._sweeps = sweeps
    except ValidationError as error:
        problems += _describe(error.errors(), _as_written(raw, sweeps))
    if problems:
        # A wrong default is met once per experiment, what is wrong with a sweep in its members.
        problems = list(dict.fromkeys(grouped_by_sweep(problems, sweeps)))
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        listing = "\n".join(f"  {problem}" for problem in problems)
        raise UserError(f"{origin} has {count}:\n{listing}\nEvery key: config/README.md")
    assert config is not None
    return config


def with_defaults(raw: dict[str, Any]) -> dict[str, Any]:
    """A copy of the parsed config with `defaults` merged under each experiment."""
    defaults, experiments = raw.get("defaults") or {}, raw.get("experiments")
    if not isinstance(defaults, dict) or not isinstance(experiments, dict):
        return raw
    merged = {
        name: _merge(defaults, experiment) if isinstance(experiment, dict) else experiment
        for name, experiment in experiments.items()
    }
    return {**raw, "defaults": defaults, "experiments": merged}


def _as_written(raw: dict[str, Any], sweeps: dict[str, SweptExperiment]) -> dict[str, Any]:
    """The parsed config without the defaults, each member as its sweep stands there."""
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
    """A line for each wrong key: its path, value, what is allowed, the nearest known key."""
    by_path: dict[tuple[str, type | None], list[Any]] = {}
    for error in errors:
        by_path.setdefault(_written_path(error["loc"], raw), []).append(error)
    for (path, block), group in by_path.items():
        # A value that may be a block, and is one, is no other kind of value: that says nothing.
        group = [error for error in group if error["type"] == "value_error"] or group
        error = group[0]
        if error["type"] != "value_error" and any(
            other.startswith(f"{path}.") for other, _ in by_path
        ):
            continue
        if error["type"] == "extra_forbidden":
            fields = block.model_fields if block else {}
            known = [field.alias or name for name, field in fields.items()]
            close = nearest(str(error["loc"][-1]), known)
            yield f"{path}: unknown key{close}; allowed: {', '.join(known)}"
        elif error["type"] == "missing":
            yield f"{path}: is missing; add it"
        else:
            messages = dict.fromkeys(item["msg"].removeprefix("Value error, ") for item in group)
            value = error["input"]
            shown = "" if isinstance(value, dict | BaseModel) else f" = {value!r}"
            yield f"{path}{shown}: {' or '.join(messages)}"


def _written_path(location: tuple[int | str, ...], raw: Any) -> tuple[str, type | None]:
    """The key path as the user wrote it, and the block (model class) in which its last key stands.

    pydantic's location also names the chosen member of a union, which no user has written; and a
    key that an experiment has from `defaults` is named there.
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
    return ".".join(path), block


def _bare(annotation: Any) -> Any:
    """The annotation without its metadata, and the block of one that may be null."""
    if typing.get_origin(annotation) is Annotated:
        return _bare(typing.get_args(annotation)[0])
    members = typing.get_args(annotation) if typing.get_origin(annotation) in UNIONS else ()
    if len(members) == 2 and types.NoneType in members:
        return _bare(next(member for member in members if member is not types.NoneType))
    return annotation


def _is_meant(member: Any, tag: int | str) -> bool:
    """Whether a member of a union is the one of this `kind` (source) or `name` (model), or else the
    block that pydantic names as `function-after[_fits_together(), CheckpointRange]`."""
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
    """Write a parsed config into `folder`, under a name by its content; returns the absolute path.

    raw: with what the command line put over it. Relative paths in it stay as they are: they are
    relative to the working directory, which jobs share. The same config is written once.
    """
    text = yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)
    path = folder.absolute() / f"{sha256_text(text)[:ABBREVIATED]}.yaml"
    if not path.exists():
        write_text(path, text)
    return path
