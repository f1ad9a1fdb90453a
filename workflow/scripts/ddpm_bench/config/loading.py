"""The whole config file: reading, merging the defaults, and reporting all that is wrong at once."""

import functools
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union

import yaml
from pydantic import BaseModel, Field, PrivateAttr, ValidationError

from ddpm_bench.config.autoencoding import Autoencoder
from ddpm_bench.config.benchmark import Benchmark
from ddpm_bench.config.best import Best
from ddpm_bench.config.cross_references import cross_references, nearest
from ddpm_bench.config.dataset import Dataset
from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.keeping import Keep
from ddpm_bench.config.keys import Keys, Name
from ddpm_bench.config.literature import PublishedScore
from ddpm_bench.config.networks import Model
from ddpm_bench.config.sampling import Samples
from ddpm_bench.config.scoring import Score
from ddpm_bench.config.sweep import Sweep
from ddpm_bench.config.sweep_members import SweptExperiment, expand_sweeps, told_once
from ddpm_bench.config.training import Train, Validation
from ddpm_bench.errors import UserError

UNIONS = (Union, types.UnionType)


class Experiment(Keys):
    """One model trained on one dataset, the samples drawn from it, and how they are scored."""

    dataset: Name = Field(description="A name under `datasets`.")
    autoencoder: Name | None = Field(
        None,
        description="A name under `autoencoders`, in whose latents the experiment trains and "
        "samples (Rombach et al. 2022); null: in pixels.",
    )
    model: Model = Field(description="The network.")
    diffusion: Diffusion = Field(
        default_factory=Diffusion, description="The forward process and the objective."
    )
    train: Train = Field(description="The optimisation.")
    validation: Validation = Field(
        default_factory=Validation, description="The loss on held-out images."
    )
    samples: dict[Name, Samples] = Field(
        {}, description="Named sets; one job per set and checkpoint."
    )
    scores: dict[Name, Score] = Field(
        {}, description="Named ways to score; each is applied to each set of samples."
    )
    keep: Keep | None = Field(None, description="Which checkpoints stay; null: all do.")
    best: Best | None = Field(None, description="Which checkpoint is exported; null: none.")
    published: tuple[PublishedScore, ...] = Field(
        (), description="What the literature reports, for figures and tables."
    )
    sweep: Sweep | None = Field(
        None, description="Values of keys, each combination an experiment; null: this one alone."
    )

    def problems(self) -> Iterator[str]:
        if self.best is not None:
            yield from self.best.misfits(self.samples, self.scores)


class Config(Keys):
    """Where things lie, the datasets, the autoencoders and experiments on them, and the throughput
    benchmark."""

    results_dir: str = Field("results", description="Everything that is computed.")
    resources_dir: str = Field("resources", description="Downloads: datasets, Inception weights.")
    datasets: dict[Name, Dataset] = Field({}, description="Named datasets.")
    autoencoders: dict[Name, Autoencoder] = Field({}, description="Named autoencoders.")
    defaults: dict[str, Any] = Field({}, description="Merged under every experiment.")
    experiments: dict[Name, Experiment] = Field({}, description="Named experiments.")
    benchmark: Benchmark | None = Field(
        None, description="How fast models train, and how that scales: `snakemake benchmark`."
    )
    _sweeps: dict[str, SweptExperiment] = PrivateAttr(default_factory=dict)

    @property
    def sweeps(self) -> dict[str, SweptExperiment]:
        """The sweeps by name; their members stand among the experiments, in place of them."""
        return self._sweeps

    @functools.cached_property
    def trainings(self) -> dict[str, Autoencoder | Experiment]:
        """Everything that is trained, by name: autoencoders first, whose latents others need."""
        return {**self.autoencoders, **self.experiments}

    def problems(self) -> Iterator[str]:
        """Two files of one name: tables would take their scores for comparable."""
        weights: dict[tuple[str, str], str] = {}
        statistics: dict[str, str] = {}
        for training, keys in self.trainings.items():
            kind = "experiments" if training in self.experiments else "autoencoders"
            for name, score in keys.scores.items():
                where = f"{kind}.{training}.scores.{name}"
                if score.weights is not None:
                    space = (keys.dataset, score.feature_space)
                    if weights.setdefault(space, score.weights.sha256) != score.weights.sha256:
                        yield (
                            f"{where}.weights: two files of weights have the name "
                            f"{score.weights.name!r}; give each its own"
                        )
                given = score.fid_statistics
                if given and statistics.setdefault(given.name, given.path) != given.path:
                    yield (
                        f"{where}.fid_statistics: two files of statistics have the name "
                        f"{given.name!r}; give each its own"
                    )


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
        problems = list(dict.fromkeys(told_once(problems, sweeps)))
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
