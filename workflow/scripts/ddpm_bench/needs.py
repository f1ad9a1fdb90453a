"""What each job asks a scheduler for: memory and time, from the config and from earlier jobs.

Where jobs of the same work have run, they say what the next one needs (measured.py). Before that,
memory follows from the sizes of network, batch, images and features, by coefficients that
`python benchmarks/needs.py` fits to runs of the programs (benchmarks/README.md has the table), and
time is the site's longest. All are of the processor's memory where the processor computes; where a
GPU does, most of it lies there, and the same request is more than enough until a job was measured.
Imported at DAG time: the standard library and the configuration only.
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config.dataset import PUBLISHED_SPLITS
from .config.loading import Config
from .config.scoring import DINOV2_DIMENSIONS, Score
from .measured import Measured, read_if_there
from .network_size import NetworkSize, network_size
from .plan import score_of_space
from .program import UserError

# Megabytes of 10^6 bytes. Measured by benchmarks/needs.py.
SNAKEMAKES = 270  # the two that run a job's program on its node
MODULES = 960  # a program that has torch imported
SMALL_PROGRAM = 383  # one that draws figures: samples of 75 checkpoints, which is the largest
SMALL_PROGRAM_SECONDS = 60
DECODER = 100  # a process that decodes images
DECODED_BYTES = 8  # for each pixel of the image that it has in hand
# Bytes for each byte of weights: while training gradients, averages and both moments, and a copy of
# all while a state is saved; while drawing the weights and the file that they come from.
TRAINING_COPIES = 3.0
AVERAGE = 1.0
DRAWING_COPIES = 2.0
# Bytes for each float32 of the activations, and of attention's weights, of a batch.
TRAINING_ACTIVATIONS = 2.0
TRAINING_ATTENTION = 2.0
DRAWING_ACTIVATIONS = 1.0
DRAWING_ATTENTION = 1.0
FEATURES = 4.0
COVARIANCES = 8.0
INCEPTION = 300

# The programs of a fit need up to 1.2 times what it says, and another machine's libraries differ.
MARGIN = 1.3
# Snakemake looks at a running job each half a second at first and each 30 s later, and misses peaks.
MEASURED_MARGIN = 1.5
# Nodes of a cluster differ, file systems are slow at times, and jobs share a node.
TIME_MARGIN = 1.5
# A training is told two minutes before its end (profiles/slurm), up to half a minute too early.
SHORTEST_MINUTES = 10
# Importing torch took up to 15 s on a busy machine, torch.compile 75 s.
START_SECONDS = 90
ROUND_MB, ROUND_MINUTES = 100, 5
LOOK_AGAIN_SECONDS = 60
VALIDATION_BATCH = 64  # as of validation.py, which imports torch


class Needs:
    """Megabytes (of 10^6 bytes) and minutes of the jobs of a config.

    longest: minutes of the longest job that the site takes: what jobs ask for whose time nobody
    knows, and the most that others do. None where none is given, as on one machine: then no job
    asks for time. attempt: 1 for a job's first start; each asks for more than the one before.
    """

    def __init__(self, config: Config, longest: int | None = None) -> None:
        self.config, self.longest = config, longest
        self._measured = Measured(config)
        self._looked = time.monotonic()

    @property
    def measured(self) -> Measured:
        """What is on disk, or was a minute ago: a run goes on for days, and a job may ask again."""
        if time.monotonic() - self._looked > LOOK_AGAIN_SECONDS:
            self._measured, self._looked = Measured(self.config), time.monotonic()
        return self._measured

    # Memory

    def small_mb(self, attempt: int = 1) -> int:
        """Of a program that draws figures."""
        return _rounded(MARGIN * SMALL_PROGRAM + SNAKEMAKES, attempt)

    def preparing_mb(self, dataset: str, attempt: int = 1) -> int:
        """Each process may hold an image of the largest size that is decoded at all."""
        keys = self.config.datasets[dataset]
        jobs = self.measured.dataset_jobs("prepare", dataset)
        small = keys.source.kind in ("sklearn-digits", *PUBLISHED_SPLITS)
        pixels = 0 if small else keys.max_megapixels
        processes = keys.run.cpus * (DECODER + DECODED_BYTES * pixels)
        return _asked(jobs, SMALL_PROGRAM + processes, attempt)

    def classifier_mb(self, dataset: str, attempt: int = 1) -> int:
        jobs = self.measured.dataset_jobs("train_classifier", dataset)
        return _asked(jobs, MODULES, attempt)

    def training_mb(self, experiment: str, attempt: int = 1) -> int:
        """Of all processes of a training on one node."""
        keys = self.config.experiments[experiment]
        run = keys.train.run
        size = self._network(experiment)
        batch = run.micro_batch_size or keys.train.batch_size // run.gpus
        copies = TRAINING_COPIES + AVERAGE * len(keys.train.ema_sigma_rels)
        estimate = run.gpus * (
            MODULES
            + copies * _megabytes(size.parameters)
            + batch * TRAINING_ACTIVATIONS * _megabytes(size.activations)
            + batch * TRAINING_ATTENTION * _megabytes(size.attention)
        )
        return _asked(self.measured.jobs("train", experiment), estimate, attempt)

    def validating_mb(self, experiment: str, attempt: int = 1) -> int:
        keys = self.config.experiments[experiment].train
        batch = min(VALIDATION_BATCH, keys.run.micro_batch_size or VALIDATION_BATCH)
        estimate = self._forward_mb(experiment, batch)
        return _asked(self.measured.jobs("validate", experiment), estimate, attempt)

    def sampling_mb(self, experiment: str, samples: str, attempt: int = 1) -> int:
        keys = self.config.experiments[experiment].samples[samples]
        jobs = self.measured.jobs("sample", experiment, samples)
        return _asked(jobs, self._forward_mb(experiment, keys.batch_size), attempt)

    def feature_mb(self, dataset: str, space: str, split: str, attempt: int = 1) -> int:
        """Of the features of a dataset's own images."""
        score = score_of_space(self.config, dataset, space)
        jobs = self.measured.dataset_jobs("reference_features", dataset, space, split)
        estimate = self._features_mb(dataset, score, self._images(dataset))
        return _asked(jobs, estimate, attempt)

    def scoring_mb(self, experiment: str, score: str, samples: str, attempt: int = 1) -> int:
        keys = self.config.experiments[experiment]
        jobs = self.measured.jobs("score", experiment, score, samples)
        images = self._images(keys.dataset) + keys.samples[samples].images
        estimate = self._features_mb(keys.dataset, keys.scores[score], images)
        return _asked(jobs, estimate, attempt)

    def _network(self, experiment: str) -> NetworkSize:
        keys = self.config.experiments[experiment]
        dataset = self.config.datasets[keys.dataset]
        return network_size(keys.model, dataset.channels, dataset.image_size)

    def _forward_mb(self, experiment: str, batch: int) -> float:
        """Of passes without gradients."""
        size = self._network(experiment)
        return (
            MODULES
            + DRAWING_COPIES * _megabytes(size.parameters)
            + batch * DRAWING_ACTIVATIONS * _megabytes(size.widest)
            + batch * DRAWING_ATTENTION * _megabytes(size.attention)
        )

    def _features_mb(self, dataset: str, score: Score, images: int) -> float:
        """Of the network of a feature space, the features of images, and their statistics."""
        if score.features == "classifier":
            network, dimensions = 0.0, self.config.datasets[dataset].classifier.features
        elif score.features == "inception":
            network, dimensions = INCEPTION, 2048
        else:
            assert score.weights is not None and score.weights.name is not None
            dimensions = DINOV2_DIMENSIONS[score.weights.name]
            network = INCEPTION + DRAWING_COPIES * _file_mb(score.weights.path)
        return (
            MODULES
            + network
            + FEATURES * _megabytes(dimensions * images)
            + COVARIANCES * 2 * _megabytes(dimensions**2)
        )

    def _images(self, dataset: str) -> int:
        """How many a dataset has, all splits together: as prepared, or else as published, or as
        many as were fetched; 0 before that, when nothing that needs them can start."""
        summary = read_if_there(Path(self.config.results_dir, "datasets", dataset, "summary.json"))
        if "train" in summary:
            return summary["train"] + summary.get("eval", 0)
        marker = Path(self.config.resources_dir, "datasets", f"{dataset}.json")
        return int(read_if_there(marker).get("files", 0))

    # Time

    def training_minutes(self, experiment: str, steps: int, attempt: int = 1) -> int | None:
        """Of a job that trains this many steps, and waits for torch and for its compiler."""
        seconds = self.measured.seconds_per_step(experiment)
        work = None if seconds is None else START_SECONDS + steps * seconds
        return self._minutes(work, attempt)

    def sampling_minutes(
        self, experiment: str, samples: str, images: int, attempt: int = 1
    ) -> int | None:
        seconds = self.measured.seconds_per_image(experiment, samples)
        work = None if seconds is None else START_SECONDS + images * seconds
        return self._minutes(work, attempt)

    def minutes_as(self, rule: str, *names: str, attempt: int = 1) -> int | None:
        """Of a job for which the longest of its kind, of an experiment, stands."""
        jobs = self.measured.jobs(rule, *names)
        return self._minutes(max((seconds for seconds, _ in jobs), default=None), attempt)

    def dataset_minutes_as(self, rule: str, *names: str, attempt: int = 1) -> int | None:
        """The same of a dataset."""
        jobs = self.measured.dataset_jobs(rule, *names)
        return self._minutes(max((seconds for seconds, _ in jobs), default=None), attempt)

    def small_minutes(self, attempt: int = 1) -> int | None:
        """Of a program that draws figures."""
        return self._minutes(SMALL_PROGRAM_SECONDS, attempt)

    def _minutes(self, seconds: float | None, attempt: int) -> int | None:
        if self.longest is None or seconds is None:
            return self.longest
        minutes = max(SHORTEST_MINUTES, seconds / 60 * TIME_MARGIN) * attempt
        return min(self.longest, math.ceil(minutes / ROUND_MINUTES) * ROUND_MINUTES)


def longest_job(defaults: Mapping[str, Any] | None) -> int | None:
    """Minutes of the longest job that a site takes: the runtime of the profile's default-resources;
    None where it has none.

    Raises UserError for one that is computed: it must be known before any job is.
    """
    runtime = (defaults or {}).get("runtime")
    if runtime is None:
        return None
    try:
        return int(runtime.value)
    except (ValueError, TypeError):
        raise UserError(
            "default-resources of the profile: runtime is no number of minutes; give the site's "
            "wall time, such as 1440. Jobs ask for less where their time is known"
        ) from None


def _asked(jobs: list[tuple[float, float]], estimate: float, attempt: int) -> int:
    """By the peaks of earlier jobs, or without them by an estimate."""
    if jobs:
        return _rounded(MEASURED_MARGIN * max(peak for _, peak in jobs) + SNAKEMAKES, attempt)
    return _rounded(MARGIN * estimate + SNAKEMAKES, attempt)


def _rounded(megabytes: float, attempt: int) -> int:
    return math.ceil(megabytes / ROUND_MB) * ROUND_MB * attempt


def _megabytes(elements: int) -> float:
    """Of float32 values."""
    return elements * 4 / 1e6


def _file_mb(path: str) -> float:
    return Path(path).stat().st_size / 1e6
