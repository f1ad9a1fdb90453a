"""Jobs of a config and their files: trainings and sets of samples are divided into jobs.

Finished jobs stay as they are and only the rest is divided, so that another `steps_per_job` or
`images_per_job`, more steps or more images never repeat finished work.
"""

import functools
import itertools
import os
import re
from pathlib import Path

from ddpm_bench.config.autoencoder import RECONSTRUCTIONS
from ddpm_bench.config.benchmark import Cell
from ddpm_bench.config.block import run_keys
from ddpm_bench.config.experiment import Config
from ddpm_bench.config.sampling import CheckpointRange
from ddpm_bench.config.score_sizes import TrainJobRun

# The rule that fetches the weights takes the name of their file from here.
from ddpm_bench.config.scoring import PUBLISHED_INCEPTION_FILE as PUBLISHED_INCEPTION_FILE
from ddpm_bench.config.scoring import Score
from ddpm_bench.planning.benchmark_cells import BENCHMARK, benchmark_datasets, dataset_of_cell
from ddpm_bench.records import layout

MANIFEST_NAME = layout.file_matcher(layout.MANIFEST)
SAMPLES_NAME = layout.file_matcher(layout.SAMPLES)


def checkpoint_steps(config: Config, experiment: str, samples: str) -> list[int]:
    """Return the training steps whose checkpoints a set of samples is drawn from, ascending."""
    train = config.trainings[experiment].train
    chosen = config.trainings[experiment].samples[samples].checkpoints
    made = range(train.checkpoint_every, train.steps + 1, train.checkpoint_every)
    if isinstance(chosen, CheckpointRange):
        return chosen.chosen(made)
    if chosen == "all":
        return list(made)
    return [train.steps] if chosen == "latest" else sorted(set(chosen))


def cut(end: int, per_job: int | None, done: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Divide [0, end) into pieces (start, stop): finished ones, and others of `per_job` each.

    The last piece stops at `end`, or after it if a finished one does.
    """
    pieces = []
    here = 0
    while here < end:
        finished = [stop for start, stop in done if start == here and stop > here]
        stop = max(finished) if finished else min(here + (per_job or end), end)
        pieces.append((here, stop))
        here = stop
    return pieces


@functools.cache
def _finished(folder: Path, name: re.Pattern[str]) -> frozenset[tuple[int, int]]:
    """Return the numbers `first` and `last` in each file name of a folder that matches `name`."""
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        return frozenset()
    matches = (name.fullmatch(entry) for entry in names)
    return frozenset((int(match["first"]), int(match["last"])) for match in matches if match)


def look_again() -> None:
    """Forget the files that were found, for a process that watches a running workflow."""
    _finished.cache_clear()


def training_jobs(config: Config, experiment: str) -> list[tuple[int, int]]:
    """Return the jobs of a training as (first, last): after step `first` up to step `last`."""
    train = config.trainings[experiment].train
    done = set(finished_jobs(config, experiment))
    return cut(train.steps, train.run.steps_per_job, done)


def finished_jobs(config: Config, experiment: str) -> frozenset[tuple[int, int]]:
    """Return the jobs of a training, as (first, last), whose manifests are on disk."""
    return _finished(layout.training_folder(config.results_dir, experiment), MANIFEST_NAME)


def training_threads(config: Config, experiment: str) -> int:
    """Return the CPU cores of a training job on each of its nodes."""
    run = config.trainings[experiment].train.run
    return run.gpus * run.cpus


def training_job_run(config: Config, training: str) -> str:
    """Return the keys of a training's run with what its scores need: `--how` of train.py."""
    run = config.trainings[training].train.run.model_dump(mode="json", exclude_defaults=True)
    needed = config.needed_images(training)
    return run_keys(TrainJobRun.model_validate({**run, "needed": needed}))


def of_several_nodes(config: Config, experiment: str, value: str | int) -> str | int | None:
    """Return a resource for trainings on several nodes; None, which sets none, for one node."""
    return value if config.trainings[experiment].train.run.nodes > 1 else None


def manifest(config: Config, experiment: str, first: int, last: int) -> str:
    """Return the manifest of a training job: its output, with the job's checkpoints."""
    return str(layout.manifest(config.results_dir, experiment, first, last))


def manifests(config: Config, experiment: str) -> list[str]:
    """Return the manifests of all jobs of a training, in order."""
    return [manifest(config, experiment, *job) for job in training_jobs(config, experiment)]


def manifest_of_checkpoint(config: Config, experiment: str, step: int) -> str:
    """Return the manifest of the job that makes the checkpoint of this step."""
    jobs = training_jobs(config, experiment)
    return manifest(config, experiment, *next(job for job in jobs if job[0] < step <= job[1]))


def manifest_before(config: Config, experiment: str, first: int) -> list[str]:
    """Return the manifest of the job that a job continues; none for the first job."""
    if first == 0:
        return []
    jobs = training_jobs(config, experiment)
    return [manifest(config, experiment, *job) for job in jobs if job[1] == first]


def validations(config: Config, experiment: str) -> list[str]:
    """Return the validation losses of all jobs of a training, in order.

    None of them if no images are held out, or `validation.images` is 0.
    """
    keys = config.trainings[experiment]
    if not keys.validation.images or not config.datasets[keys.dataset].eval_fraction:
        return []
    return [
        str(layout.validation_file(config.results_dir, experiment, *job))
        for job in training_jobs(config, experiment)
    ]


def sample_files(config: Config, experiment: str, samples: str, step: int) -> list[str]:
    """Return the files of a set's images of one checkpoint, in order; each is drawn by one job.

    For an autoencoder the file of its reconstructions.
    """
    if experiment in config.autoencoders:
        return [reconstruction_file(config, experiment, step, "images.npy")]
    keys = config.experiments[experiment].samples[samples]
    folder = layout.grid_file(config.results_dir, experiment, samples, step).parent
    done = {(first, last + 1) for first, last in _finished(folder, SAMPLES_NAME)}
    pieces = cut(keys.images, keys.run.images_per_job, done)
    files = functools.partial(layout.samples_file, config.results_dir, experiment, samples, step)
    return [str(files(start, stop - 1)) for start, stop in pieces]


def reconstruction_file(config: Config, autoencoder: str, step: int, name: str) -> str:
    """Return images.npy or summary.json of a checkpoint's reconstructions."""
    return str(layout.reconstruction_file(config.results_dir, autoencoder, step, name))


def reconstruction_files(config: Config, autoencoder: str, name: str) -> list[str]:
    """Return images.npy or summary.json of all reconstructed checkpoints, in their order."""
    steps = checkpoint_steps(config, autoencoder, RECONSTRUCTIONS)
    return [reconstruction_file(config, autoencoder, step, name) for step in steps]


def reconstructed_images(config: Config, autoencoder: str) -> str:
    """Return the images to reconstruct: held-out ones, or else training images."""
    dataset = config.autoencoders[autoencoder].dataset
    split = "eval" if config.datasets[dataset].eval_fraction else "train"
    return prepared_images(config, dataset, split)


def timing_files(config: Config, experiment: str, samples: str, step: int) -> list[str]:
    """Return the timings beside the files of samples of a checkpoint, in the same order."""
    files = sample_files(config, experiment, samples, step)
    return [str(layout.timing_file(file)) for file in files]


def all_sample_files(config: Config, experiment: str) -> list[str]:
    """Return all files of samples of an experiment."""
    return [
        path
        for samples in config.trainings[experiment].samples
        for step in checkpoint_steps(config, experiment, samples)
        for path in sample_files(config, experiment, samples, step)
    ]


def first_sample_files(config: Config, experiment: str, samples: str) -> list[str]:
    """Return the file with the first images of each checkpoint, in order of their steps."""
    steps = checkpoint_steps(config, experiment, samples)
    return [sample_files(config, experiment, samples, step)[0] for step in steps]


def score_files(config: Config, experiment: str) -> list[str]:
    """Return all scores of an experiment: one per score, set and checkpoint."""
    keys = config.trainings[experiment]
    return [
        str(layout.score_file(config.results_dir, experiment, score, samples, step))
        for score, samples in itertools.product(keys.scores, keys.samples)
        for step in checkpoint_steps(config, experiment, samples)
    ]


def given_weights(config: Config, experiment: str) -> str:
    """Return the file of a training's initial weights; an empty text without one."""
    given = config.trainings[experiment].train.init_from
    return given.path if given else ""


def work_names(config: Config) -> list[str]:
    """Return the names of all that a run may work on: trainings, and the benchmark if any."""
    return [*config.trainings, *([BENCHMARK] if config.benchmark else [])]


def used_datasets(config: Config) -> list[str]:
    """Return the datasets that something is trained on, each once; others are not prepared."""
    return list(dict.fromkeys(keys.dataset for keys in config.trainings.values()))


def all_datasets(config: Config) -> list[str]:
    """Return the datasets that trainings and the benchmark use, each once."""
    return list(dict.fromkeys([*used_datasets(config), *benchmark_datasets(config)]))


def dataset_folder(config: Config, dataset: str) -> str:
    """Return the folder of a prepared dataset."""
    return str(layout.dataset_folder(config.results_dir, dataset))


def training_folder(config: Config, experiment: str) -> str:
    """Return the folder of an experiment's training data: its dataset, or the latents of it."""
    autoencoder = autoencoder_of(config, experiment)
    if autoencoder is not None:
        return latents_folder(config, autoencoder)
    return dataset_folder(config, config.trainings[experiment].dataset)


def training_images(config: Config, experiment: str, split: str) -> str:
    """Return the images, or latents, of a split on which an experiment trains."""
    return str(Path(training_folder(config, experiment), f"{split}.npy"))


def autoencoder_of(config: Config, experiment: str) -> str | None:
    """Return the autoencoder in whose latents an experiment trains; None for pixels."""
    own = config.experiments.get(experiment)
    return None if own is None else own.autoencoder


def latents_folder(config: Config, autoencoder: str) -> str:
    """Return the folder of an autoencoder's latents."""
    return str(layout.latents_folder(config.results_dir, autoencoder))


def last_manifest(config: Config, experiment: str) -> str:
    """Return the manifest of the last job of a training."""
    return manifests(config, experiment)[-1]


def nearest_files(config: Config, experiment: str, score: str, samples: str) -> list[str]:
    """Return the distances to training images of each checkpoint, in order of their steps."""
    return [
        str(layout.nearest_file(config.results_dir, experiment, score, samples, step))
        for step in checkpoint_steps(config, experiment, samples)
    ]


def reference_files(config: Config, experiment: str, score: str) -> list[str]:
    """Return the features of a score's reference, shared by all experiments on a dataset."""
    keys = config.trainings[experiment]
    splits = _reference_splits(config, keys.dataset, keys.scores[score].reference)
    space = keys.scores[score].feature_space
    return [_feature_file(config, keys.dataset, space, split) for split in splits]


def fid_reference_files(config: Config, experiment: str, score: str) -> list[str]:
    """Return the reference of FID alone: published statistics, or features by pytorch-fid.

    None if FID has the same reference as the other scores.
    """
    keys = config.trainings[experiment]
    own = keys.scores[score]
    if own.fid_statistics is not None:
        return [own.fid_statistics.path]
    if own.fid_space == own.feature_space:
        return []
    splits = _reference_splits(config, keys.dataset, own.reference)
    return [_feature_file(config, keys.dataset, own.fid_space, split) for split in splits]


def train_features(config: Config, experiment: str, score: str) -> str:
    """Return the features of the images that the experiment is trained on."""
    keys = config.trainings[experiment]
    return _feature_file(config, keys.dataset, keys.scores[score].feature_space, "train")


def heldout_features(config: Config, experiment: str, score: str) -> list[str]:
    """Return the features of the images held out of training; none without such images."""
    keys = config.trainings[experiment]
    if not config.datasets[keys.dataset].eval_fraction:
        return []
    return [_feature_file(config, keys.dataset, keys.scores[score].feature_space, "eval")]


def _feature_file(config: Config, dataset: str, space: str, split: str) -> str:
    return str(layout.features_file(config.results_dir, dataset, space, split))


def _reference_splits(config: Config, dataset: str, reference: str) -> list[str]:
    """Return the splits of a reference; `all` is train alone if no images are held out."""
    if reference != "all":
        return [reference]
    return ["train", "eval"] if config.datasets[dataset].eval_fraction else ["train"]


def prepared_images(config: Config, dataset: str, split: str) -> str:
    """Return the prepared images of a split, train or eval."""
    return str(layout.prepared_images(config.results_dir, dataset, split))


def images_of_cell(config: Config, cell: Cell) -> list[str]:
    """Return the prepared images that a cell of the benchmark trains on; none for random ones."""
    dataset = dataset_of_cell(config, cell)
    return [] if dataset is None else [prepared_images(config, dataset, "train")]


def score_of_space(config: Config, dataset: str, space: str) -> Score:
    """Return a score that uses a feature space on a dataset, for the keys of the space."""
    return next(
        score
        for keys in config.trainings.values()
        for score in keys.scores.values()
        if keys.dataset == dataset and space in (score.feature_space, score.fid_space)
    )


def feature_weights(config: Config, dataset: str, score: Score) -> str:
    """Return the file of the network that computes a score's features."""
    if score.features == "classifier":
        return str(layout.classifier_file(config.results_dir, dataset))
    if score.weights is not None:
        return score.weights.path
    return str(layout.inception_weights(config.resources_dir))


def asked_steps(config: Config, experiment: str) -> dict[str, list[int]]:
    """Return the training steps whose checkpoints are drawn from, by set of samples."""
    samples = config.trainings[experiment].samples
    return {name: checkpoint_steps(config, experiment, name) for name in samples}


def thinned(config: Config, experiment: str) -> str:
    """Return the list of an experiment's checkpoints that `keep` has left."""
    return str(layout.thinned_file(config.results_dir, experiment))


def members(config: Config, sweep: str) -> list[str]:
    """Return the experiments that are members of a sweep."""
    return list(config.sweeps[sweep].members)


def sweep_of(config: Config, experiment: str) -> str | None:
    """Return the sweep of which an experiment is a member; None for other experiments."""
    sweeps = config.sweeps.items()
    return next((name for name, swept in sweeps if experiment in swept.members), None)


def experiments_of_their_own(config: Config) -> list[str]:
    """Return the experiments that are not members of a sweep."""
    taken = {member for swept in config.sweeps.values() for member in swept.members}
    return [name for name in config.experiments if name not in taken]
