"""Files on this machine that a config names: check of their presence, and hashes of folders."""

from collections.abc import Iterator
from pathlib import Path

from ddpm_bench.config.benchmark import OwnModel
from ddpm_bench.config.dataset import Folder
from ddpm_bench.config.experiment import Config
from ddpm_bench.config.score_sizes import NeededImages, most_images, too_few_of_reference
from ddpm_bench.data.file_listing import (
    folder_sha256,
    matches,
    matching_files,
    split_patterns,
)
from ddpm_bench.errors import UserError
from ddpm_bench.planning import jobs
from ddpm_bench.planning.fetched_files import fetched_file

# Pictures that are made below results_dir and resources_dir, in components.
PICTURES = (
    ("report", "best_scores.png"),
    ("name", "report", "loss.png"),
    ("datasets", "name", "preview.png"),
    ("datasets", "name", "folder", "image.jpg"),
)


def check_local_files(config: Config) -> None:
    """Raise UserError for files that the config names and that are not on this machine."""
    weights, statistics, checkpoints = [], [], []
    for experiment, keys in config.trainings.items():
        kind = "experiments" if experiment in config.experiments else "autoencoders"
        where = f"{kind}.{experiment}"
        for name, score in keys.scores.items():
            if score.weights is not None:
                weights.append((f"{where}.scores.{name}.weights.path", score.weights.path))
            if score.fid_statistics is not None:
                path = score.fid_statistics.path
                statistics.append((f"{where}.scores.{name}.fid_statistics.path", path))
        if given := jobs.given_weights(config, experiment):
            checkpoints.append((f"{where}.train.init_from.path", given))
    models = config.benchmark.models if config.benchmark else {}
    own = [
        (f"benchmark.models.{name}.path", keys.path)
        for name, keys in models.items()
        if isinstance(keys, OwnModel)
    ]
    _refuse_missing(
        own, "Give the path of a Python file with a function that returns model, batch and loss"
    )
    _refuse_missing(
        weights,
        "Give the path of a file of weights, or remove `weights` to have the published ones of "
        "Inception downloaded",
    )
    _refuse_missing(
        statistics,
        "Give the path of an .npz file with mu and sigma, or remove `fid_statistics` to hold FID "
        "against the dataset",
    )
    _refuse_missing(
        checkpoints,
        "Give the path of a checkpoint, or remove `init_from` to begin with weights drawn from the "
        "seed",
    )


def _refuse_missing(named: list[tuple[str, str]], remedy: str) -> None:
    """Raise UserError when one of the files, each with the key that names it, is missing."""
    missing = [
        f"{key} = {str(Path(path).absolute())!r}" for key, path in named if not _is_file(path)
    ]
    if missing:
        raise UserError(f"no such file: {'; '.join(missing)}. {remedy}")


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a name too long, a folder that may not be entered
        return False


def check_local_folders(config: Config) -> None:
    """Raise UserError for a folder of images that is missing, or with too few files to read.

    It reads no file; `local_listings` does, and finds the same.
    """
    for name, source in _local_folders(config):
        key = f"datasets.{name}.source.path"
        _refuse_own_pictures(config, key, source)
        _refuse_few(config, name, len(matching_files(Path(source.path), source.include, key)))


def _refuse_own_pictures(config: Config, key: str, source: Folder) -> None:
    """Raise UserError for a folder of images in which results or downloads would be found, too."""
    for made in ("results_dir", "resources_dir"):
        folder = Path(getattr(config, made)).absolute().resolve()
        try:
            below = folder.relative_to(Path(source.path).absolute().resolve()).parts
        except ValueError:
            continue
        patterns = split_patterns(source.include)
        if any(matches((*below, *picture), patterns) for picture in PICTURES):
            raise UserError(
                f"{key} = {source.path!r}: {made} lies in it ({folder}), whose pictures would "
                "become images of the dataset; put it elsewhere, or narrow `include`"
            )


def _refuse_few(config: Config, dataset: str, files: int) -> None:
    """Raise UserError for keys of scores that need more images than a dataset has files."""
    images = most_images(config.datasets[dataset], files)
    needed = _needed(config, dataset)
    if problems := list(too_few_of_reference(needed, images)):
        raise UserError("; ".join(problems))


def _needed(config: Config, dataset: str) -> tuple[NeededImages, ...]:
    trainings = [name for name, keys in config.trainings.items() if keys.dataset == dataset]
    return tuple(need for name in trainings for need in config.needed_images(name))


def _local_folders(config: Config) -> Iterator[tuple[str, Folder]]:
    """Yield the datasets in folders of this machine that something uses, with their sources."""
    for name in jobs.all_datasets(config):
        source = config.datasets[name].source
        if isinstance(source, Folder):
            yield name, source


def local_listings(config: Config) -> dict[str, str]:
    """Return a hash of the files in each local folder, by dataset.

    Raises UserError if one is missing.
    """
    listings = {}
    for name, source in _local_folders(config):
        fetched = fetched_file(config, name)
        cache = fetched.with_name(f".{fetched.stem}.listing.json")
        key = f"datasets.{name}.source.path"
        _refuse_own_pictures(config, key, source)
        if _needed(config, name):
            _refuse_few(config, name, len(matching_files(Path(source.path), source.include, key)))
        listings[name] = folder_sha256(source.path, source.include, cache, key)
    return listings
