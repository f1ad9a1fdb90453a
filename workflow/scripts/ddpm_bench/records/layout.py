"""Layout of the results: path patterns of all files, and functions that return their paths.

Patterns are relative to results_dir, FETCHED and INCEPTION_WEIGHTS to resources_dir. Wildcards
are in braces and have the names that the rules use. Numbers are padded: steps to 8 digits, images
to 6. records/rule_files.py has the patterns by rule.
"""

import re
from pathlib import Path

from ddpm_bench.config.scoring import PUBLISHED_INCEPTION_FILE

STEP_DIGITS = 8
IMAGE_DIGITS = 6

# Datasets
FETCHED = "datasets/{fetched}.json"
INCEPTION_WEIGHTS = f"inception/{PUBLISHED_INCEPTION_FILE}"
PREPARED_IMAGES = "datasets/{dataset}/{split}.npy"
DATASET_SUMMARY = "datasets/{dataset}/summary.json"
PREVIEW = "datasets/{dataset}/preview.png"
CLASSIFIER = "datasets/{dataset}/classifier/classifier.safetensors"
FEATURES = "datasets/{dataset}/features/{space}/{split}.npz"

# Trainings: of experiments and of autoencoders
MANIFEST = "{experiment}/training/job-{first}-{last}.json"
VALIDATION = "{experiment}/training/validation-{first}-{last}.csv"
THINNED = "{experiment}/training/thinned.json"
CURRENT_TRAINING = "{experiment}/training/current.json"
# Files of one training, in the folder of its fingerprint, which no rule names.
STATE = "{experiment}/training/{fingerprint}/state/step-{step}"
REMOVED_WEIGHTS = "{experiment}/training/{fingerprint}/thinned.json"
PROGRESS_LOG = "{experiment}/training/{fingerprint}/progress.jsonl"

# Autoencoders
WEIGHTS = "autoencoder.safetensors"
LATENTS = "{autoencoder}/latents/{split}.npy"
RECONSTRUCTION = "{autoencoder}/reconstructions/step-{step}/{name}"

# Samples and scores
SAMPLES = "{experiment}/samples/{samples}/step-{step}/images-{first}-{last}.npy"
TIMING = "{experiment}/samples/{samples}/step-{step}/images-{first}-{last}.json"
GRID = "{experiment}/samples/{samples}/step-{step}/grid.png"
SCORE = "{experiment}/scores/{score}/{samples}/step-{step}.json"
NEAREST = "{experiment}/scores/{score}/{samples}/step-{step}.nearest.npz"

# Reports
REPORT = "{experiment}/report/{name}"
SWEEP_REPORT = "report/sweeps/{sweep}/{name}"
COMPARISON = "report/{name}"
BEST = "{experiment}/best/{name}"
EVALUATION, BEST_SCORES = "evaluation_results.csv", "best_scores.csv"
LOSS_FIGURE, SCHEDULE_FIGURE = "loss.png", "schedule.png"
SCORE_FIGURES = (
    "FID_vs_TrainingSteps.png",
    "IS_vs_TrainingSteps.png",
    "KID_vs_TrainingSteps.png",
    "PrecisionRecall_vs_TrainingSteps.png",
    "DensityCoverage_vs_TrainingSteps.png",
    "Memorising_vs_TrainingSteps.png",
)
# Of the first checkpoints, where there are more.
FIRST_CHECKPOINTS = 25
FIRST_FIGURES = ("FID_vs_TrainingSteps_First25.png", "IS_vs_TrainingSteps_First25.png")
RECONSTRUCTION_FIGURES = ("reconstructions.png", "Codebooks_vs_TrainingSteps.png")
SAMPLER_FILES = (
    "Quality_vs_SecondsPerImage.png",
    "sampler_comparison.csv",
    "steps_to_quality.csv",
)
SWEEP_FILES = (
    "sweep.csv",
    "ranking.csv",
    "Ranking.png",
    "MainEffects.png",
    "ParallelCoordinates.png",
    "ScoreCurves.png",
    "LossCurves.png",
)

# The throughput benchmark
BENCHMARK = "benchmark"
CELL = f"{BENCHMARK}/cells/{{cell}}.json"
BENCHMARK_FILE = f"{BENCHMARK}/{{name}}"
THROUGHPUT_TABLES = ("throughput.csv", "summary.csv")
THROUGHPUT_FIGURES = (
    "throughput_vs_batch.png",
    "scaling_efficiency.png",
    "memory_vs_batch.png",
    "communication_share.png",
)

Folder = str | Path


def padded_step(step: int) -> str:
    """Return a training step as in file names: 00000300."""
    return f"{step:0{STEP_DIGITS}}"


def padded_image(image: int) -> str:
    """Return the index of an image as in file names: 000128."""
    return f"{image:0{IMAGE_DIGITS}}"


def checkpoint_name(step: int) -> str:
    """Return the stem of a checkpoint's file and of all files made from it: step-00000300."""
    return f"step-{padded_step(step)}"


def average_name(sigma_rel: float | None) -> str:
    """Return the name of an average in files: ema, or ema-0.05 for a power-function one.

    sigma_rel: the width of the power-function average; None for the one of train.ema_decay.
    """
    return "ema" if sigma_rel is None else f"ema-{sigma_rel:g}"


def weights_name(step: int, sigma_rel: float | None = None) -> str:
    """Return the name of the file of a step's averaged weights; sigma_rel: as of `average_name`."""
    average = "" if sigma_rel is None else f".{average_name(sigma_rel)}"
    return f"{checkpoint_name(step)}{average}.safetensors"


def with_names(pattern: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a pattern that ends in {name} with each of these names."""
    return tuple(pattern.replace("{name}", name) for name in names)


def matcher(pattern: str) -> re.Pattern[str]:
    """Return an expression for the paths of a pattern, with a group for each wildcard.

    `first` and `last` have the digits of images in files of images, of steps in others.
    """
    digits = IMAGE_DIGITS if "images-{first}" in pattern else STEP_DIGITS
    numbers = {"step": STEP_DIGITS, "first": digits, "last": digits}
    parts = re.split(r"\{(\w+)\}", pattern)
    expressions = [
        re.escape(part)
        if index % 2 == 0
        else rf"(?P<{part}>\d{{{numbers[part]}}})"
        if part in numbers
        else rf"(?P<{part}>[^/]+)"
        for index, part in enumerate(parts)
    ]
    return re.compile("".join(expressions))


def file_matcher(pattern: str) -> re.Pattern[str]:
    """Return an expression for the file names of a pattern, without their folders."""
    return matcher(pattern.rpartition("/")[2])


def _path(root: Folder, pattern: str, **wildcards: str) -> Path:
    return Path(root, pattern.format(**wildcards))


# Datasets


def fetched_file(resources: Folder, fetched: str) -> Path:
    """Return the record of fetched files (records/datasets.FetchedFiles).

    fetched: their name, which planning/fetched_files.py makes of the dataset and its source.
    """
    return _path(resources, FETCHED, fetched=fetched)


def inception_weights(resources: Folder) -> Path:
    """Return the downloaded file of Inception's published weights."""
    return Path(resources, INCEPTION_WEIGHTS)


def prepared_images(results: Folder, dataset: str, split: str) -> Path:
    """Return the prepared images of a split: uint8 [n, H, W, C] as .npy."""
    return _path(results, PREPARED_IMAGES, dataset=dataset, split=split)


def dataset_folder(results: Folder, dataset: str) -> Path:
    """Return the folder of a prepared dataset."""
    return dataset_summary(results, dataset).parent


def dataset_summary(results: Folder, dataset: str) -> Path:
    """Return the summary of a prepared dataset (records/datasets.DatasetSummary)."""
    return _path(results, DATASET_SUMMARY, dataset=dataset)


def preview_file(results: Folder, dataset: str) -> Path:
    """Return the picture of some of a dataset's images."""
    return _path(results, PREVIEW, dataset=dataset)


def classifier_file(results: Folder, dataset: str) -> Path:
    """Return the weights of a dataset's classifier."""
    return _path(results, CLASSIFIER, dataset=dataset)


def features_file(results: Folder, dataset: str, space: str, split: str) -> Path:
    """Return the features of a split in a feature space."""
    return _path(results, FEATURES, dataset=dataset, space=space, split=split)


# Trainings


def training_folder(results: Folder, experiment: str) -> Path:
    """Return the folder of an experiment's, or autoencoder's, training."""
    return current_training(results, experiment).parent


def current_training(results: Folder, experiment: str) -> Path:
    """Return the record of the present training (records/manifests.CurrentTraining)."""
    return _path(results, CURRENT_TRAINING, experiment=experiment)


def manifest(results: Folder, experiment: str, first: int, last: int) -> Path:
    """Return the manifest of the job that trains after step `first` up to step `last`."""
    steps = {"first": padded_step(first), "last": padded_step(last)}
    return _path(results, MANIFEST, experiment=experiment, **steps)


def validation_file(results: Folder, experiment: str, first: int, last: int) -> Path:
    """Return the validation losses of a training job's checkpoints."""
    steps = {"first": padded_step(first), "last": padded_step(last)}
    return _path(results, VALIDATION, experiment=experiment, **steps)


def thinned_file(results: Folder, experiment: str) -> Path:
    """Return the list of checkpoints that `keep` has left."""
    return _path(results, THINNED, experiment=experiment)


def state_folder(results: Folder, experiment: str, fingerprint: str, step: int = 0) -> Path:
    """Return the folder of a training's saved state after `step` steps."""
    names = {"fingerprint": fingerprint, "step": padded_step(step)}
    return _path(results, STATE, experiment=experiment, **names)


def removed_weights(results: Folder, experiment: str, fingerprint: str) -> Path:
    """Return the list of a training's weights that `keep` has removed."""
    return _path(results, REMOVED_WEIGHTS, experiment=experiment, fingerprint=fingerprint)


def progress_log(results: Folder, experiment: str, fingerprint: str) -> Path:
    """Return the progress events of a training (records/progress_log)."""
    return _path(results, PROGRESS_LOG, experiment=experiment, fingerprint=fingerprint)


# Autoencoders


def latents_file(results: Folder, autoencoder: str, split: str) -> Path:
    """Return the latents of a split."""
    return _path(results, LATENTS, autoencoder=autoencoder, split=split)


def latents_folder(results: Folder, autoencoder: str) -> Path:
    """Return the folder of an autoencoder's latents."""
    return latents_file(results, autoencoder, "train").parent


def reconstruction_file(results: Folder, autoencoder: str, step: int, name: str) -> Path:
    """Return images.npy or summary.json of a checkpoint's reconstructions."""
    names = {"step": padded_step(step), "name": name}
    return _path(results, RECONSTRUCTION, autoencoder=autoencoder, **names)


# Samples and scores


def samples_folder(results: Folder, experiment: str, samples: str) -> Path:
    """Return the folder of a set of samples, with a folder for each checkpoint."""
    return grid_file(results, experiment, samples, 0).parent.parent


def samples_file(
    results: Folder, experiment: str, samples: str, step: int, first: int, last: int
) -> Path:
    """Return the samples `first` to `last`, included, of a checkpoint: uint8 [n, H, W, C]."""
    numbers = {"first": padded_image(first), "last": padded_image(last), "step": padded_step(step)}
    return _path(results, SAMPLES, experiment=experiment, samples=samples, **numbers)


def timing_file(samples: Folder) -> Path:
    """Return the timing beside a file of samples (records/samples.SampleTiming)."""
    return Path(samples).with_suffix(".json")


def grid_file(results: Folder, experiment: str, samples: str, step: int) -> Path:
    """Return the picture of a checkpoint's samples."""
    names = {"samples": samples, "step": padded_step(step)}
    return _path(results, GRID, experiment=experiment, **names)


def score_file(results: Folder, experiment: str, score: str, samples: str, step: int) -> Path:
    """Return the score of a set at a checkpoint (records/scores.ScoreRecord)."""
    names = {"score": score, "samples": samples, "step": padded_step(step)}
    return _path(results, SCORE, experiment=experiment, **names)


def nearest_file(results: Folder, experiment: str, score: str, samples: str, step: int) -> Path:
    """Return the distances of samples to training images (records/nearest.Nearest)."""
    names = {"score": score, "samples": samples, "step": padded_step(step)}
    return _path(results, NEAREST, experiment=experiment, **names)


# Reports and the benchmark


def report_file(results: Folder, experiment: str, name: str) -> Path:
    """Return a table or figure of an experiment."""
    return _path(results, REPORT, experiment=experiment, name=name)


def samples_over_training(samples: str, suffix: str) -> str:
    """Return the name of the picture (png) or animation (gif) of a set over its checkpoints."""
    return f"samples_over_training.{samples}.{suffix}"


def denoising_animation(samples: str) -> str:
    """Return the name of the animation from noise to images of a set."""
    return f"denoising.{samples}.gif"


def closest_pairs_figure(score: str, samples: str) -> str:
    """Return the name of the figure of samples beside the training images nearest to them."""
    return f"closest_pairs.{score}.{samples}.png"


def best_file(results: Folder, experiment: str, name: str) -> Path:
    """Return a file of an experiment's exported best checkpoint."""
    return _path(results, BEST, experiment=experiment, name=name)


def sweep_file(results: Folder, sweep: str, name: str) -> Path:
    """Return a table or figure of a sweep."""
    return _path(results, SWEEP_REPORT, sweep=sweep, name=name)


def comparison_file(results: Folder, name: str) -> Path:
    """Return a table or figure of all experiments."""
    return _path(results, COMPARISON, name=name)


def cell_file(results: Folder, cell: str) -> Path:
    """Return the record of a cell of the benchmark (records/cell_record.CellRecord)."""
    return _path(results, CELL, cell=cell)


def benchmark_file(results: Folder, name: str) -> Path:
    """Return a table or figure of the throughput benchmark."""
    return _path(results, BENCHMARK_FILE, name=name)
