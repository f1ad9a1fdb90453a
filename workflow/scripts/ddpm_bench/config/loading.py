"""The whole config file: reading, merging the defaults, and reporting all that is wrong at once."""

import difflib
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Union

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ..program import UserError
from .benchmark import Benchmark
from .dataset import Dataset
from .diffusion import Diffusion
from .keeping import Keep
from .keys import Keys, Name
from .networks import Model
from .sampling import CheckpointRange, Samples
from .scoring import Score
from .training import Train, Validation, nearest_multiples

UNIONS = (Union, types.UnionType)
# Folders of results_dir that are not experiments.
RESERVED_NAMES = frozenset({"datasets", "report", "benchmark", "snapshot", "logs"})


class Experiment(Keys):
    """One model trained on one dataset, the samples drawn from it, and how they are scored."""

    dataset: Name = Field(description="A name under `datasets`.")
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


class Config(Keys):
    """Where things lie, the datasets, and the experiments on them."""

    results_dir: str = Field("results", description="Everything that is computed.")
    resources_dir: str = Field("resources", description="Downloads: datasets, Inception weights.")
    datasets: dict[Name, Dataset] = Field({}, description="Named datasets.")
    defaults: dict[str, Any] = Field({}, description="Merged under every experiment.")
    experiments: dict[Name, Experiment] = Field({}, description="Named experiments.")
    benchmark: Benchmark | None = Field(
        None, description="How fast models train, and how that scales: `snakemake benchmark`."
    )

    def problems(self) -> Iterator[str]:
        """Two files of one name: tables would take their scores for comparable."""
        weights: dict[tuple[str, str], str] = {}
        statistics: dict[str, str] = {}
        for experiment, keys in self.experiments.items():
            for name, score in keys.scores.items():
                where = f"experiments.{experiment}.scores.{name}"
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
    merged = with_defaults(raw)
    problems = list(_cross_references(merged))
    config = None
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        problems += _describe(error.errors(), raw)
    if problems:
        problems = list(dict.fromkeys(problems))  # a wrong default is met once per experiment
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


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = (
            _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return merged


def _cross_references(merged: dict[str, Any]) -> Iterator[str]:
    """Problems between blocks; looks at the parsed file, so that it works beside other errors."""
    datasets, experiments = merged.get("datasets"), merged.get("experiments")
    if not isinstance(datasets, dict) or not isinstance(experiments, dict):
        return
    for name, experiment in experiments.items():
        if name in RESERVED_NAMES:
            yield f"experiments.{name}: this name is a folder of the results; choose another"
        if not isinstance(experiment, dict):
            continue
        where = f"experiments.{name}"
        yield from _samples_mismatches(where, experiment)
        if "dataset" not in experiment:
            continue
        dataset_name = experiment["dataset"]
        if dataset_name not in datasets:
            yield (
                f"{where}.dataset = {dataset_name!r}: no such dataset"
                f"{_nearest(str(dataset_name), datasets)}; there are: {', '.join(datasets)}"
            )
        elif isinstance(datasets[dataset_name], dict):
            yield from _dataset_mismatches(where, experiment, dataset_name, datasets[dataset_name])


def _samples_mismatches(where: str, experiment: dict[str, Any]) -> Iterator[str]:
    """Sets of samples that ask for timesteps, averages or checkpoints that there are not."""
    default = Diffusion.model_fields["timesteps"].default
    timesteps = _whole(experiment, "diffusion", "timesteps") or default
    samples = experiment.get("samples")
    for name, keys in samples.items() if isinstance(samples, dict) else ():
        if not isinstance(keys, dict):
            continue
        here = f"{where}.samples.{name}"
        yield from _timestep_mismatches(here, keys, timesteps)
        average, averages = keys.get("ema_sigma_rel"), _at(experiment, "train", "ema_sigma_rels")
        if average is not None and average not in (averages or []):
            yield (
                f"{here}.ema_sigma_rel = {average}: training keeps no such average; add it to "
                f"{where}.train.ema_sigma_rels, which are {averages or 'none'}"
            )
        yield from _checkpoint_mismatches(here, keys.get("checkpoints"), experiment)


def _timestep_mismatches(here: str, keys: dict[str, Any], timesteps: int) -> Iterator[str]:
    """`timesteps`: how many the forward process has."""
    given = keys.get("timesteps")
    if given is None:
        steps = _whole(keys, "steps") or Samples.model_fields["steps"].default
        if steps > timesteps:
            yield f"{here}.steps = {steps}: exceeds diffusion.timesteps = {timesteps}"
    elif isinstance(given, list):
        starts = [item.get("from") if isinstance(item, dict) else item for item in given]
        beyond = [start for start in starts if isinstance(start, int) and start >= timesteps]
        if beyond:
            yield (
                f"{here}.timesteps has {beyond[0]}: with diffusion.timesteps = {timesteps} the "
                f"highest is {timesteps - 1}"
            )


def _checkpoint_mismatches(here: str, chosen: Any, experiment: dict[str, Any]) -> Iterator[str]:
    every = _whole(experiment, "train", "checkpoint_every")
    last = _whole(experiment, "train", "steps")
    if not (every and last):
        return
    there_are = f"there are checkpoints at the multiples of {every} up to {last}"
    if isinstance(chosen, list):
        wrong = [step for step in chosen if not isinstance(step, int)]
        wrong = wrong or [step for step in chosen if step % every or step > last]
        if wrong:
            yield f"{here}.checkpoints has {wrong}: {there_are}"
    elif isinstance(chosen, dict):
        distance = _whole(chosen, "every")
        if distance and distance % every:
            yield (
                f"{here}.checkpoints.every = {distance}: {there_are}; the nearest that fit: "
                f"{nearest_multiples(distance, every)}"
            )
            return
        try:
            meant = CheckpointRange.model_validate(chosen).chosen(range(every, last + 1, every))
        except ValidationError:
            return  # reported where it stands
        if not meant:
            yield f"{here}.checkpoints = {chosen}: none is in this range; {there_are}"


def _at(block: Any, *path: str) -> Any:
    """The value at a path of the parsed file; None where there is none."""
    for key in path:
        block = block.get(key) if isinstance(block, dict) else None
    return block


def _whole(block: Any, *path: str) -> int | None:
    """The whole number at a path of the parsed file; None where there is none above 0."""
    value = _at(block, *path)
    return value if isinstance(value, int) and value > 0 else None


def _dataset_mismatches(
    where: str, experiment: dict[str, Any], dataset_name: str, dataset: dict[str, Any]
) -> Iterator[str]:
    try:
        size = int(dataset["image_size"])
        unit = TypeAdapter(Model).validate_python(experiment["model"]).smallest_multiple()
        if size % unit:
            yield (
                f"datasets.{dataset_name}.image_size = {size}: {where}.model halves images "
                f"{unit.bit_length() - 1} times: a multiple of {unit} is needed; take fewer levels"
            )
    except (KeyError, TypeError, ValueError):
        pass  # reported where it stands
    scores = experiment.get("scores")
    for name, score in scores.items() if isinstance(scores, dict) else ():
        reference = score.get("reference") if isinstance(score, dict) else None
        if reference == "eval" and dataset.get("eval_fraction", 0) == 0:
            yield (
                f"{where}.scores.{name}.reference = 'eval': dataset {dataset_name} holds nothing "
                f"out; set datasets.{dataset_name}.eval_fraction, such as 0.2"
            )


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
            nearest = _nearest(str(error["loc"][-1]), known)
            yield f"{path}: unknown key{nearest}; allowed: {', '.join(known)}"
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


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
