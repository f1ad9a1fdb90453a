"""Contradictions between blocks of a config file.

The parsed file is checked, not the typed config, so that they are reported together with wrong
values of single keys.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ddpm_bench.config.autoencoder import RECONSTRUCTIONS
from ddpm_bench.config.benchmark import CellMeasuring
from ddpm_bench.config.block import MOST_CHECKPOINTS, PositiveInt
from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.messages import no_such
from ddpm_bench.config.networks import VqVae
from ddpm_bench.config.plain_data import shown
from ddpm_bench.config.sampling import CheckpointRange, Samples
from ddpm_bench.config.training import Trained, nearest_multiples

TRAINED = TypeAdapter(Trained)
WHOLE_NUMBER = TypeAdapter(PositiveInt)
# Folders and files of results_dir that are not experiments.
RESERVED_NAMES = frozenset({"datasets", "report", "report.html", "benchmark", "snapshot", "logs"})


def cross_references(merged: dict[str, Any]) -> Iterator[str]:
    """Yield a message for each contradiction between blocks of the parsed file `merged`."""
    if not any(merged.get(block) for block in ("experiments", "autoencoders", "benchmark")):
        yield (
            "nothing to do: give `experiments` to train, sample and score, or a `benchmark` to "
            "measure how training scales"
        )
    datasets, experiments = _named(merged, "datasets"), _named(merged, "experiments")
    autoencoders = _named(merged, "autoencoders")
    benchmark = merged.get("benchmark")
    if isinstance(benchmark, dict):
        yield from _benchmark_mismatches(benchmark, datasets, experiments)
    for name, autoencoder in autoencoders.items():
        where = f"autoencoders.{name}"
        if name in experiments:
            yield f"{where}: an experiment has this name too, and their results lie side by side"
        yield from _training_mismatches(where, name, autoencoder, datasets)
        if _at(autoencoder, "train", "run", "on_failure") == "record":
            yield (
                f"{where}.train.run.on_failure = 'record': experiments need the autoencoder, and "
                "its failure stops them; remove it"
            )
        chosen = _at(autoencoder, RECONSTRUCTIONS, "checkpoints")
        yield from _checkpoint_mismatches(f"{where}.{RECONSTRUCTIONS}", chosen, autoencoder)
    for name, experiment in experiments.items():
        where = f"experiments.{name}"
        yield from _samples_mismatches(where, experiment)
        yield from _training_mismatches(where, name, experiment, datasets, autoencoders)


def _training_mismatches(
    where: str,
    name: str,
    training: Any,
    datasets: dict[str, Any],
    autoencoders: dict[str, Any] | None = None,
) -> Iterator[str]:
    """Yield contradictions between a training, its dataset and its autoencoder."""
    if name in RESERVED_NAMES:
        yield f"{where}: this name is a folder of the results; choose another"
    if not isinstance(training, dict) or "dataset" not in training:
        return
    dataset_name = training["dataset"]
    if not isinstance(dataset_name, str):
        return  # reported as a wrong value of that key
    if dataset_name not in datasets:
        yield f"{where}.dataset = {no_such('dataset', dataset_name, datasets)}"
        return
    dataset, chosen = datasets[dataset_name], training.get("autoencoder")
    if not isinstance(dataset, dict):
        return
    yield from _reference_mismatches(where, training, dataset_name, dataset)
    key, size = f"datasets.{dataset_name}.image_size", dataset.get("image_size")
    if chosen is None:
        yield from _cannot_halve(key, size, f"{where}.model", training.get("model"))
    elif not isinstance(chosen, str):
        return
    elif chosen not in (autoencoders or {}):
        yield f"{where}.autoencoder = {no_such('autoencoder', chosen, autoencoders or {})}"
    else:
        assert autoencoders is not None
        yield from _latent_mismatches(where, training, chosen, autoencoders[chosen], key, size)


def _latent_mismatches(
    where: str, experiment: dict[str, Any], chosen: str, autoencoder: Any, key: str, size: Any
) -> Iterator[str]:
    """Yield what contradicts training in the latents of the autoencoder `chosen`.

    It must be trained on the same dataset, its latents must be divisible by the U-Net's halvings,
    and the experiment may not flip latents, as they are not those of flipped images.
    """
    other = _at(autoencoder, "dataset")
    if other != experiment["dataset"]:
        yield (
            f"{where}.autoencoder = {chosen!r}: is trained on dataset {other}, the experiment on "
            f"{experiment['dataset']}; give both one dataset"
        )
    if _at(experiment, "train", "horizontal_flips"):
        yield (
            f"{where}.train.horizontal_flips: flipped latents are not those of flipped images; "
            f"set it in autoencoders.{chosen}.train, or leave it out"
        )
    try:
        latents = VqVae.model_validate(_at(autoencoder, "model")).latents_of(int(size))
    except (TypeError, ValueError):  # ValidationError, too
        return  # reported as a wrong value of that key
    side = f"{key} / autoencoders.{chosen}.model.downsampling"
    yield from _cannot_halve(side, latents.size, f"{where}.model", experiment.get("model"))


def _samples_mismatches(where: str, experiment: Any) -> Iterator[str]:
    """Yield sets of samples that ask for timesteps, averages or checkpoints that do not exist."""
    if not isinstance(experiment, dict):
        return
    default = Diffusion.model_fields["timesteps"].default
    timesteps = _whole(experiment, "diffusion", "timesteps") or default
    samples = experiment.get("samples")
    for name, keys in samples.items() if isinstance(samples, dict) else ():
        if not isinstance(keys, dict):
            continue
        here = f"{where}.samples.{name}"
        yield from _timestep_mismatches(here, keys, timesteps)
        average, averages = keys.get("ema_sigma_rel"), _at(experiment, "train", "ema_sigma_rels")
        listed = averages is None or isinstance(averages, list)
        if average is not None and listed and average not in (averages or []):
            yield (
                f"{here}.ema_sigma_rel = {average}: training keeps no such average; add it to "
                f"{where}.train.ema_sigma_rels, which are {averages or 'none'}"
            )
        yield from _checkpoint_mismatches(here, keys.get("checkpoints"), experiment)


def _timestep_mismatches(here: str, keys: dict[str, Any], timesteps: int) -> Iterator[str]:
    """Yield timesteps of a set beyond the forward process, which has `timesteps` of them."""
    given = keys.get("timesteps")
    if given is None:
        steps = _whole(keys, "steps") or Samples.model_fields["steps"].default
        if steps > timesteps:
            yield f"{here}.steps = {steps}: exceeds diffusion.timesteps = {timesteps}"
    elif isinstance(given, list):
        starts = [item.get("from") if isinstance(item, dict) else item for item in given]
        beyond = [number for start in starts if (number := _number(start) or 0) >= timesteps]
        if beyond:
            yield (
                f"{here}.timesteps has {beyond[0]}: with diffusion.timesteps = {timesteps} the "
                f"highest is {timesteps - 1}"
            )


def _checkpoint_mismatches(here: str, chosen: Any, experiment: dict[str, Any]) -> Iterator[str]:
    """Yield the chosen checkpoints that a training does not make."""
    every = _whole(experiment, "train", "checkpoint_every")
    last = _whole(experiment, "train", "steps")
    if not (every and last) or last // every > MOST_CHECKPOINTS:
        return
    there_are = f"there are checkpoints at the multiples of {every} up to {last}"
    if isinstance(chosen, list):
        numbers = [number for step in chosen if (number := _number(step))]
        wrong = [step for step in numbers if step % every or step > last]
        if wrong:
            yield f"{here}.checkpoints has {shown(wrong)}: {there_are}"
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
            return  # reported as a wrong value of that key
        if not meant:
            yield f"{here}.checkpoints = {shown(chosen)}: none is in this range; {there_are}"


def _benchmark_mismatches(
    benchmark: dict[str, Any], datasets: dict[str, Any], experiments: dict[str, Any]
) -> Iterator[str]:
    """Yield unknown datasets and experiments, and image sizes that a U-Net cannot halve."""
    given = benchmark.get("dataset")
    if isinstance(given, str) and given not in datasets:
        yield f"benchmark.dataset = {no_such('dataset', given, datasets)}"
    models = benchmark.get("models")
    for name, keys in models.items() if isinstance(models, dict) else ():
        where = f"benchmark.models.{name}"
        kind = keys.get("name") if isinstance(keys, dict) else None
        experiment = _at(keys, "experiment")
        if kind == "experiment" and isinstance(experiment, str) and experiment not in experiments:
            yield f"{where}.experiment = {no_such('experiment', experiment, experiments)}"
        elif kind in ("unet", "unet2d"):
            dataset = _at(datasets, given) if isinstance(given, str) else benchmark
            origin = "benchmark" if dataset is benchmark else f"datasets.{given}"
            default = CellMeasuring.model_fields["image_size"].default
            size = dataset.get("image_size", default) if isinstance(dataset, dict) else default
            yield from _cannot_halve(f"{origin}.image_size", size, where, keys)


def _cannot_halve(key: str, size: Any, where: str, model: Any) -> Iterator[str]:
    """Yield a message if a model halves images of this size more often than is possible."""
    try:
        unit = TRAINED.validate_python(model).smallest_multiple()
        if int(size) > 0 and int(size) % unit:
            yield (
                f"{key} = {size}: {where} halves images {unit.bit_length() - 1} times: a multiple "
                f"of {unit} is needed; take fewer levels"
            )
    except (TypeError, ValueError):
        pass  # reported as a wrong value of that key


def _at(block: Any, *path: str) -> Any:
    """Return the value at a path of the parsed file, or None if there is none."""
    for key in path:
        block = block.get(key) if isinstance(block, dict) else None
    return block


def _whole(block: Any, *path: str) -> int | None:
    """Return the positive whole number at a path of the parsed file, or None."""
    return _number(_at(block, *path))


def _number(value: Any) -> int | None:
    """Return the positive whole number that a key takes from a value, also from text; or None."""
    try:
        return None if isinstance(value, bool) else WHOLE_NUMBER.validate_python(value)
    except ValidationError:
        return None  # reported as a wrong value of that key


def _named(merged: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the named blocks of a key of the parsed file; none where there is something else."""
    blocks = merged.get(key)
    return blocks if isinstance(blocks, dict) else {}


def _reference_mismatches(
    where: str, training: dict[str, Any], dataset_name: str, dataset: dict[str, Any]
) -> Iterator[str]:
    """Yield scores against held-out images of a dataset that has none."""
    scores = training.get("scores")
    for name, score in scores.items() if isinstance(scores, dict) else ():
        reference = score.get("reference") if isinstance(score, dict) else None
        if reference == "eval" and dataset.get("eval_fraction", 0) == 0:
            yield (
                f"{where}.scores.{name}.reference = 'eval': dataset {dataset_name} holds nothing "
                f"out; set datasets.{dataset_name}.eval_fraction, such as 0.2"
            )
