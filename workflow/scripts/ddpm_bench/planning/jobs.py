"""Which jobs there are: trainings and sets of samples cut into pieces by what lies on disk.

Finished pieces stand as they are and only the rest is cut anew, so that another `steps_per_job` or
`images_per_job`, more steps or more images never repeat what is done. Imported at DAG time: the
standard library and the configuration only.
"""

import functools
import itertools
import os
import re
from pathlib import Path

from ddpm_bench.config.autoencoder import RECONSTRUCTIONS
from ddpm_bench.config.benchmark import Cell
from ddpm_bench.config.experiment import Config
from ddpm_bench.config.sampling import CheckpointRange
from ddpm_bench.config.scoring import PUBLISHED_INCEPTION_FILE, Score
from ddpm_bench.planning.benchmark_cells import BENCHMARK, benchmark_datasets, dataset_of_cell
from ddpm_bench.records.layout import IMAGE_DIGITS, STEP_DIGITS, checkpoint_name, padded_step


def checkpoint_steps(config: Config, experiment: str, samples: str) -> list[int]:
    """The training steps whose checkpoints a set of samples is drawn from, ascending."""
    train = config.trainings[experiment].train
    chosen = config.trainings[experiment].samples[samples].checkpoints
    made = range(train.checkpoint_every, train.steps + 1, train.checkpoint_every)
    if isinstance(chosen, CheckpointRange):
        return chosen.chosen(made)
    if chosen == "all":
        return list(made)
    return [train.steps] if chosen == "latest" else sorted(set(chosen))


def cut(end: int, per_job: int | None, done: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Cut [0, end) into pieces (start, stop): done ones stand, the rest has `per_job` each.

    The last piece stops at `end`, or after it where a finished one does.
    """
    pieces = []
    here = 0
    while here < end:
        standing = [stop for start, stop in done if start == here and stop > here]
        stop = max(standing) if standing else min(here + (per_job or end), end)
        pieces.append((here, stop))
        here = stop
    return pieces


@functools.cache
def _finished(folder: str, name: str) -> frozenset[tuple[int, int]]:
    """The two numbers in each file name of a folder that matches the pattern `name` wholly."""
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        return frozenset()
    matches = (re.fullmatch(name, entry) for entry in names)
    return frozenset((int(match[1]), int(match[2])) for match in matches if match)


def look_again() -> None:
    """Forget what lay on disk: for a process that watches a running workflow."""
    _finished.cache_clear()


def training_jobs(config: Config, experiment: str) -> list[tuple[int, int]]:
    """The jobs of a training as (first, last): each goes on after step `first` to step `last`."""
    train = config.trainings[experiment].train
    done = set(finished_jobs(config, experiment))
    return cut(train.steps, train.run.steps_per_job, done)


def finished_jobs(config: Config, experiment: str) -> frozenset[tuple[int, int]]:
    """The jobs of a training, as (first, last), whose manifests are on disk."""
    folder = str(Path(config.results_dir, experiment, "training"))
    return _finished(folder, rf"job-(\d{{{STEP_DIGITS}}})-(\d{{{STEP_DIGITS}}})\.json")


def training_threads(config: Config, experiment: str) -> int:
    """CPU cores of a training job on each of its nodes."""
    run = config.trainings[experiment].train.run
    return run.gpus * run.cpus


def of_several_nodes(config: Config, experiment: str, value: str | int) -> str | int | None:
    """A value for trainings on several nodes; None, for Snakemake a resource not set, on one."""
    return value if config.trainings[experiment].train.run.nodes > 1 else None


def manifest(config: Config, experiment: str, first: int, last: int) -> str:
    """The file by which a training job says that it is done, and names its checkpoints."""
    return _job_file(config, experiment, f"job-{padded_step(first)}-{padded_step(last)}.json")


def _job_file(config: Config, experiment: str, name: str) -> str:
    return str(Path(config.results_dir, experiment, "training", name))


def manifests(config: Config, experiment: str) -> list[str]:
    """The manifests of all jobs of a training, in order."""
    return [manifest(config, experiment, *job) for job in training_jobs(config, experiment)]


def manifest_of_checkpoint(config: Config, experiment: str, step: int) -> str:
    """The manifest of the job that makes the checkpoint of this step."""
    jobs = training_jobs(config, experiment)
    return manifest(config, experiment, *next(job for job in jobs if job[0] < step <= job[1]))


def manifest_before(config: Config, experiment: str, first: int) -> list[str]:
    """The manifest of the job that a job goes on from; none for the first job."""
    if first == 0:
        return []
    jobs = training_jobs(config, experiment)
    return [manifest(config, experiment, *job) for job in jobs if job[1] == first]


def validations(config: Config, experiment: str) -> list[str]:
    """The validation losses of all jobs of a training, in order; none where the dataset holds
    nothing out, or the config asks for no images."""
    keys = config.trainings[experiment]
    if not keys.validation.images or not config.datasets[keys.dataset].eval_fraction:
        return []
    return [
        _job_file(config, experiment, f"validation-{padded_step(first)}-{padded_step(last)}.csv")
        for first, last in training_jobs(config, experiment)
    ]


def sample_files(config: Config, experiment: str, samples: str, step: int) -> list[str]:
    """The files that hold a set's images of one checkpoint, in order; one job draws each. Of an
    autoencoder its reconstructions."""
    if experiment in config.autoencoders:
        return [reconstruction_file(config, experiment, step, "images.npy")]
    keys = config.experiments[experiment].samples[samples]
    folder = Path(config.results_dir, experiment, "samples", samples, checkpoint_name(step))
    pattern = rf"images-(\d{{{IMAGE_DIGITS}}})-(\d{{{IMAGE_DIGITS}}})\.npy"
    done = {(first, last + 1) for first, last in _finished(str(folder), pattern)}
    pieces = cut(keys.images, keys.run.images_per_job, done)
    return [
        str(folder / f"images-{start:0{IMAGE_DIGITS}}-{stop - 1:0{IMAGE_DIGITS}}.npy")
        for start, stop in pieces
    ]


def reconstruction_file(config: Config, autoencoder: str, step: int, name: str) -> str:
    """images.npy or summary.json of the held-out images, as a checkpoint gives them back."""
    folder = Path(config.results_dir, autoencoder, RECONSTRUCTIONS, checkpoint_name(step))
    return str(folder / name)


def reconstruction_files(config: Config, autoencoder: str, name: str) -> list[str]:
    """The same of all checkpoints that are looked at, in their order."""
    steps = checkpoint_steps(config, autoencoder, RECONSTRUCTIONS)
    return [reconstruction_file(config, autoencoder, step, name) for step in steps]


def reconstructed_images(config: Config, autoencoder: str) -> str:
    """The images that it is asked to give back: held-out ones, where there are some."""
    dataset = config.autoencoders[autoencoder].dataset
    split = "eval" if config.datasets[dataset].eval_fraction else "train"
    return prepared_images(config, dataset, split)


def timing_files(config: Config, experiment: str, samples: str, step: int) -> list[str]:
    """How long the drawing of each of these files took, in the same order."""
    files = sample_files(config, experiment, samples, step)
    return [str(Path(file).with_suffix(".json")) for file in files]


def all_sample_files(config: Config, experiment: str) -> list[str]:
    """Every file of samples of an experiment."""
    return [
        path
        for samples in config.trainings[experiment].samples
        for step in checkpoint_steps(config, experiment, samples)
        for path in sample_files(config, experiment, samples, step)
    ]


def first_sample_files(config: Config, experiment: str, samples: str) -> list[str]:
    """The file with the first images of each checkpoint, in the order of `checkpoint_steps`."""
    steps = checkpoint_steps(config, experiment, samples)
    return [sample_files(config, experiment, samples, step)[0] for step in steps]


def score_files(config: Config, experiment: str) -> list[str]:
    """Every score of an experiment: one per way to score, set and checkpoint."""
    keys = config.trainings[experiment]
    return [
        str(
            Path(config.results_dir, experiment, "scores", score, samples)
            / f"{checkpoint_name(step)}.json"
        )
        for score, samples in itertools.product(keys.scores, keys.samples)
        for step in checkpoint_steps(config, experiment, samples)
    ]


def given_weights(config: Config, experiment: str) -> str:
    """The file of weights that a training begins with; an empty text where there is none."""
    given = config.trainings[experiment].train.init_from
    return given.path if given else ""


def work_names(config: Config) -> list[str]:
    """What a run of a config may work on: its experiments and their autoencoders, and its benchmark
    if it has one."""
    return [*config.trainings, *([BENCHMARK] if config.benchmark else [])]


def used_datasets(config: Config) -> list[str]:
    """The datasets that something is trained on, each once; others in the file cost nothing."""
    return list(dict.fromkeys(keys.dataset for keys in config.trainings.values()))


def all_datasets(config: Config) -> list[str]:
    """Those of the benchmark too, each once."""
    return list(dict.fromkeys([*used_datasets(config), *benchmark_datasets(config)]))


def dataset_folder(config: Config, dataset: str) -> str:
    return str(Path(config.results_dir, "datasets", dataset))


def training_folder(config: Config, experiment: str) -> str:
    """The folder of what is trained on: a dataset, or its latents."""
    autoencoder = autoencoder_of(config, experiment)
    if autoencoder is not None:
        return latents_folder(config, autoencoder)
    return dataset_folder(config, config.trainings[experiment].dataset)


def training_images(config: Config, experiment: str, split: str) -> str:
    """The images, or latents, of a split as an experiment trains on them."""
    return str(Path(training_folder(config, experiment), f"{split}.npy"))


def autoencoder_of(config: Config, experiment: str) -> str | None:
    """The autoencoder in whose latents an experiment trains; None for pixels."""
    own = config.experiments.get(experiment)
    return None if own is None else own.autoencoder


def latents_folder(config: Config, autoencoder: str) -> str:
    return str(Path(config.results_dir, autoencoder, "latents"))


def last_manifest(config: Config, experiment: str) -> str:
    """The manifest of the job that ends a training."""
    return manifests(config, experiment)[-1]


def nearest_files(config: Config, experiment: str, score: str, samples: str) -> list[str]:
    """The distances to training images of each checkpoint, in the order of `checkpoint_steps`."""
    folder = Path(config.results_dir, experiment, "scores", score, samples)
    return [
        str(folder / f"{checkpoint_name(step)}.nearest.npz")
        for step in checkpoint_steps(config, experiment, samples)
    ]


def reference_files(config: Config, experiment: str, score: str) -> list[str]:
    """The features that a score holds samples against; shared by all experiments on a dataset."""
    keys = config.trainings[experiment]
    splits = _reference_splits(config, keys.dataset, keys.scores[score].reference)
    space = keys.scores[score].feature_space
    return [_feature_file(config, keys.dataset, space, split) for split in splits]


def fid_reference_files(config: Config, experiment: str, score: str) -> list[str]:
    """What FID alone is held against: published statistics, or features of pytorch-fid's pass; none
    where FID has the reference of the other scores."""
    keys = config.trainings[experiment]
    own = keys.scores[score]
    if own.fid_statistics is not None:
        return [own.fid_statistics.path]
    if own.fid_space == own.feature_space:
        return []
    splits = _reference_splits(config, keys.dataset, own.reference)
    return [_feature_file(config, keys.dataset, own.fid_space, split) for split in splits]


def train_features(config: Config, experiment: str, score: str) -> str:
    """The features of the images that the experiment is trained on."""
    keys = config.trainings[experiment]
    return _feature_file(config, keys.dataset, keys.scores[score].feature_space, "train")


def heldout_features(config: Config, experiment: str, score: str) -> list[str]:
    """The features of the images that are held out of training; none where there are no such."""
    keys = config.trainings[experiment]
    if not config.datasets[keys.dataset].eval_fraction:
        return []
    return [_feature_file(config, keys.dataset, keys.scores[score].feature_space, "eval")]


def _feature_file(config: Config, dataset: str, space: str, split: str) -> str:
    return str(Path(dataset_folder(config, dataset), "features", space, f"{split}.npz"))


def _reference_splits(config: Config, dataset: str, reference: str) -> list[str]:
    """The splits of a reference; all that there are where nothing is held out is the first."""
    if reference != "all":
        return [reference]
    return ["train", "eval"] if config.datasets[dataset].eval_fraction else ["train"]


def prepared_images(config: Config, dataset: str, split: str) -> str:
    """The prepared images of a split: train or eval."""
    return str(Path(dataset_folder(config, dataset), f"{split}.npy"))


def images_of_cell(config: Config, cell: Cell) -> list[str]:
    """The prepared images that a cell of the benchmark trains on; none where they are random."""
    dataset = dataset_of_cell(config, cell)
    return [] if dataset is None else [prepared_images(config, dataset, "train")]


def score_of_space(config: Config, dataset: str, space: str) -> Score:
    """A score that uses a feature space on a dataset: it holds the keys of the space."""
    return next(
        score
        for keys in config.trainings.values()
        for score in keys.scores.values()
        if keys.dataset == dataset and space in (score.feature_space, score.fid_space)
    )


def feature_weights(config: Config, dataset: str, score: Score) -> str:
    """The file of the network that computes a score's features."""
    if score.features == "classifier":
        return str(Path(dataset_folder(config, dataset), "classifier", "classifier.safetensors"))
    if score.weights is not None:
        return score.weights.path
    return str(Path(config.resources_dir, "inception", PUBLISHED_INCEPTION_FILE))


def asked_steps(config: Config, experiment: str) -> dict[str, list[int]]:
    """The training steps whose checkpoints each set of samples is drawn from."""
    samples = config.trainings[experiment].samples
    return {name: checkpoint_steps(config, experiment, name) for name in samples}


def thinned(config: Config, experiment: str) -> str:
    """The file that says which checkpoints of an experiment `keep` has left."""
    return str(Path(config.results_dir, experiment, "training", "thinned.json"))


def members(config: Config, sweep: str) -> list[str]:
    """The experiments that a sweep has become."""
    return list(config.sweeps[sweep].members)


def sweep_of(config: Config, experiment: str) -> str | None:
    """The sweep that an experiment is a member of; None for an experiment of its own."""
    sweeps = config.sweeps.items()
    return next((name for name, swept in sweeps if experiment in swept.members), None)


def experiments_of_their_own(config: Config) -> list[str]:
    """The experiments that are no members of a sweep."""
    taken = {member for swept in config.sweeps.values() for member in swept.members}
    return [name for name in config.experiments if name not in taken]
