"""What each job asks a scheduler for: memory and time, from the config and from earlier jobs.

Where jobs of the same work have run, the estimates follow from them (earlier_jobs.py). Before that,
memory follows from the sizes of network, batch, images and features, by coefficients that
`python comparisons/needs.py` fits to runs of the programs (table in comparisons/README.md), and
time is the site's longest. The fits are of machines without a GPU. Beside one, what it holds is
asked for all the same, and has to make up for what CUDA takes of the host, which was not measured;
a job for which it does not is sent again with twice as much.
Imported at DAG time: the standard library and the configuration only.
"""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpm_bench.config.benchmark import Cell, CellRun
from ddpm_bench.config.dataset import PUBLISHED_SPLITS
from ddpm_bench.config.experiment import Config
from ddpm_bench.config.scoring import DINOV2_DIMENSIONS, Score
from ddpm_bench.errors import UserError
from ddpm_bench.planning.earlier_jobs import EarlierJobs
from ddpm_bench.planning.jobs import autoencoder_of, score_of_space
from ddpm_bench.planning.network_size import NetworkSize, network_size

# What comparisons/needs.py measured on the CPU, in megabytes of 10^6 bytes: programs with their
# modules imported, before they hold anything of a size that the config decides.
SNAKEMAKE = 135  # two of them run a job's program on its node
TRAINING = 969
COMPILING = 561  # torch.compile and the compilers that it starts, on two cores
DRAWING = 950
FEATURES = 693
SCORING = 931
FIGURES = 383  # samples of 75 checkpoints, the largest of the programs that draw
EXPORTING = 979  # torch and diffusers, which write the export's program and scheduler
FIGURES_SECONDS = 60
DECODER = 93  # each process that decodes images, and
DECODED_BYTES = 7.0  # for each pixel of the image that it has in hand
INCEPTION = 574  # the network and its activations at 16 images
# Bytes for each byte of weights: while training those, gradients, an average and two moments, and
# what comes and goes; one more for each further average. While drawing, the weights alone.
TRAINING_COPIES = 5.85
AVERAGE = 1.0
DRAWING_COPIES = 1.05
# Bytes for each byte of the activations of a batch, and of its attention's weights, in float32.
TRAINING_ACTIVATIONS = 1.49
TRAINING_ATTENTION = 3.30
DRAWING_ACTIVATIONS = 0.15  # of the resolution that has most
DRAWING_ATTENTION = 0.98
# Bytes for each byte of features in float32: of the reference alone, of both sides.
REFERENCE_FEATURES = 1.39
SCORED_FEATURES = 5.24
COVARIANCE = 0.83  # for each byte of it in float64

# Of a cell of the benchmark, which has any model: asked for, and not measured.
CELL_PROCESS = 4000
# Two snakemakes, and the two minutes that a cell gives srun (cell_processes.py) beyond its time.
CELL_START_SECONDS = 180

# Runs needed up to 1.14 times what was fitted to them, and another machine's libraries differ.
MARGIN = 1.3
# Snakemake looks at a running job each half second at first, each 30 s later, and misses peaks.
MEASURED_MARGIN = 1.5
# Nodes of a cluster differ, file systems are slow at times, and jobs share a node.
TIME_MARGIN = 1.5
# A training is told two minutes before its end (profiles/slurm), up to half a minute too early.
SHORTEST_MINUTES = 10
# Importing torch took up to 15 s on a busy machine, torch.compile 75 s.
START_SECONDS = 90
ROUND_MB, ROUND_MINUTES = 100, 5
LOOK_AGAIN_SECONDS = 60
INCEPTION_DIMENSIONS = 2048
VALIDATION_BATCH = 64  # as of training/validation.py, which imports torch
ENCODING_BATCH = 64  # as of latents/encoding.py
LATENTS = 8.0  # bytes for each byte of latents in float32: they are scaled in float64. Not fitted


class ResourceEstimates:
    """Megabytes (of 10^6 bytes) and minutes of the jobs of a config.

    longest: minutes of the longest job that the site takes: what jobs ask for whose time nobody
    knows, and the most that others do. None where none is given, as on one machine: then no job
    asks for time. attempt: 1 for a job's first start; each asks for more than the one before.
    """

    def __init__(self, config: Config, longest: int | None = None) -> None:
        self.config, self.longest = config, longest
        self._measured = EarlierJobs(config)
        self._looked = time.monotonic()

    @property
    def measured(self) -> EarlierJobs:
        """What is on disk, or was a minute ago: a run goes on for days, and a job may ask again."""
        if time.monotonic() - self._looked > LOOK_AGAIN_SECONDS:
            self._measured, self._looked = EarlierJobs(self.config), time.monotonic()
        return self._measured

    # Memory

    def small_mb(self, attempt: int = 1) -> int:
        """Of a program that draws figures."""
        return _rounded(MARGIN * FIGURES + 2 * SNAKEMAKE, attempt)

    def exporting_mb(self, attempt: int = 1) -> int:
        """Of the export of a checkpoint, whose weights are linked and not loaded."""
        return _rounded(MARGIN * EXPORTING + 2 * SNAKEMAKE, attempt)

    def preparing_mb(self, dataset: str, attempt: int = 1) -> int:
        """Each process may hold an image of the largest size that is decoded at all."""
        keys = self.config.datasets[dataset]
        jobs = self.measured.dataset_jobs("prepare", dataset)
        small = keys.source.kind in ("sklearn-digits", *PUBLISHED_SPLITS)
        pixels = 0 if small else keys.max_megapixels
        processes = keys.run.cpus * (DECODER + DECODED_BYTES * pixels)
        return _asked(jobs, FIGURES + processes, attempt)

    def classifier_mb(self, dataset: str, attempt: int = 1) -> int:
        jobs = self.measured.dataset_jobs("train_classifier", dataset)
        return _asked(jobs, TRAINING, attempt)

    def training_mb(self, experiment: str, attempt: int = 1) -> int:
        """Of all processes of a training on one node."""
        keys = self.config.trainings[experiment]
        run = keys.train.run
        size = self._network(experiment)
        batch = run.micro_batch_size or keys.train.batch_size // run.processes
        copies = TRAINING_COPIES + AVERAGE * len(keys.train.ema_sigma_rels)
        estimate = run.gpus * (
            TRAINING
            + (COMPILING if run.compile else 0)
            + copies * _megabytes(size.parameters)
            + batch * TRAINING_ACTIVATIONS * _megabytes(size.activations)
            + batch * TRAINING_ATTENTION * _megabytes(size.attention)
        )
        return _asked(self.measured.jobs("train", experiment), estimate, attempt)

    def validating_mb(self, experiment: str, attempt: int = 1) -> int:
        keys = self.config.trainings[experiment].train
        batch = min(VALIDATION_BATCH, keys.run.micro_batch_size or VALIDATION_BATCH)
        estimate = self._forward_mb(experiment, batch)
        return _asked(self.measured.jobs("validate", experiment), estimate, attempt)

    def sampling_mb(self, experiment: str, samples: str, attempt: int = 1) -> int:
        keys = self.config.experiments[experiment].samples[samples]
        jobs = self.measured.sampling_jobs(experiment, samples)
        estimate = self._forward_mb(experiment, keys.batch_size)
        chosen = autoencoder_of(self.config, experiment)
        if chosen is not None:  # the decoder is held beside the model
            estimate += self._forward_mb(chosen, keys.batch_size) - DRAWING
        return _asked(jobs, estimate, attempt)

    def encoding_mb(self, autoencoder: str, attempt: int = 1) -> int:
        """Of encoding all images, which are held in memory as latents."""
        keys = self.config.autoencoders[autoencoder]
        latents = keys.model.latents_of(self.config.datasets[keys.dataset].image_size)
        values = latents.channels * latents.size**2 * self.measured.images(keys.dataset)
        estimate = self._forward_mb(autoencoder, ENCODING_BATCH) + LATENTS * _megabytes(values)
        return _asked(self.measured.jobs("encode", autoencoder), estimate, attempt)

    def reconstructing_mb(self, autoencoder: str, attempt: int = 1) -> int:
        jobs = self.measured.jobs("reconstruct", autoencoder)
        return _asked(jobs, self._forward_mb(autoencoder, ENCODING_BATCH), attempt)

    def feature_mb(self, dataset: str, space: str, split: str, attempt: int = 1) -> int:
        """Of the features of a dataset's own images."""
        score = score_of_space(self.config, dataset, space)
        jobs = self.measured.dataset_jobs("reference_features", dataset, space, split)
        network, dimensions = self._space(dataset, score)
        estimate = (
            FEATURES
            + network
            + REFERENCE_FEATURES * _megabytes(dimensions * self.measured.images(dataset))
            + COVARIANCE * 2 * _megabytes(dimensions**2)
        )
        return _asked(jobs, estimate, attempt)

    def scoring_mb(self, experiment: str, score: str, samples: str, attempt: int = 1) -> int:
        keys = self.config.trainings[experiment]
        jobs = self.measured.scoring_jobs(experiment, score, samples)
        images = self.measured.images(keys.dataset) + keys.samples[samples].images
        network, dimensions = self._space(keys.dataset, keys.scores[score])
        estimate = (
            SCORING
            + network
            + SCORED_FEATURES * _megabytes(dimensions * images)
            + COVARIANCE * 2 * _megabytes(dimensions**2)
        )
        return _asked(jobs, estimate, attempt)

    def cell_mb(self, cell: Cell, attempt: int = 1) -> int:
        """Of all processes of a cell of the benchmark on one node. What the config lets a process
        take may be a GPU's memory: the host's is no less for it."""
        assert self.config.benchmark is not None
        each = max(self.config.benchmark.memory_mb_per_process or 0, CELL_PROCESS)
        return _rounded(cell.processes * each + 2 * SNAKEMAKE, attempt)

    def _network(self, experiment: str) -> NetworkSize:
        keys = self.config.trainings[experiment]
        dataset = self.config.datasets[keys.dataset]
        chosen = autoencoder_of(self.config, experiment)
        if chosen is None:
            return network_size(keys.model, dataset.channels, dataset.image_size)
        latents = self.config.autoencoders[chosen].model.latents_of(dataset.image_size)
        return network_size(keys.model, latents.channels, latents.size)

    def _forward_mb(self, experiment: str, batch: int) -> float:
        """Of passes without gradients."""
        size = self._network(experiment)
        return (
            DRAWING
            + DRAWING_COPIES * _megabytes(size.parameters)
            + batch * DRAWING_ACTIVATIONS * _megabytes(size.widest)
            + batch * DRAWING_ATTENTION * _megabytes(size.attention)
        )

    def _space(self, dataset: str, score: Score) -> tuple[float, int]:
        """Megabytes of the network of a feature space, and the dimensions of its features."""
        if score.features == "classifier":
            return 0.0, self.config.datasets[dataset].classifier.features
        if score.features == "inception":
            return INCEPTION, INCEPTION_DIMENSIONS
        assert score.weights is not None and score.weights.name is not None
        weights = Path(score.weights.path).stat().st_size / 1e6
        # Inception's stands for its activations: it sees larger images.
        return INCEPTION + DRAWING_COPIES * weights, DINOV2_DIMENSIONS[score.weights.name]

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
        run = self.config.experiments[experiment].samples[samples].run
        return self._minutes(work, attempt, run.checkpoints_per_job)

    def scoring_minutes(
        self, experiment: str, score: str, samples: str, attempt: int = 1
    ) -> int | None:
        jobs = self.measured.scoring_jobs(experiment, score, samples)
        run = self.config.trainings[experiment].scores[score].run
        return self._minutes(_longest(jobs), attempt, run.checkpoints_per_job)

    def minutes_as(self, rule: str, *names: str, attempt: int = 1) -> int | None:
        """Of a job for which the longest of its kind, of an experiment, stands."""
        jobs = self.measured.jobs(rule, *names)
        return self._minutes(_longest(jobs), attempt)

    def dataset_minutes_as(self, rule: str, *names: str, attempt: int = 1) -> int | None:
        """The same of a dataset."""
        jobs = self.measured.dataset_jobs(rule, *names)
        return self._minutes(_longest(jobs), attempt)

    def cell_minutes(self, attempt: int = 1) -> int | None:
        """Of a cell of the benchmark, which ends itself in time, with its start."""
        assert self.config.benchmark is not None
        if self.longest is None:
            return None
        minutes = self.config.benchmark.run.minutes_per_cell + CELL_START_SECONDS / 60
        return min(self.longest, math.ceil(minutes / ROUND_MINUTES) * ROUND_MINUTES * attempt)

    def cell_run(self) -> CellRun:
        """How cells of the benchmark are run: each ends before the longest job that the site takes,
        so that it leaves a row and is not killed."""
        assert self.config.benchmark is not None
        run = self.config.benchmark.run
        if self.longest is None:
            return run
        most = max(1.0, self.longest - CELL_START_SECONDS / 60)
        return run.model_copy(update={"minutes_per_cell": min(run.minutes_per_cell, most)})

    def small_minutes(self, attempt: int = 1) -> int | None:
        """Of a program that draws figures."""
        return self._minutes(FIGURES_SECONDS, attempt)

    def _minutes(self, seconds: float | None, attempt: int, members: int = 1) -> int | None:
        """members: of the job; Snakemake adds their times up, and the site's longest bounds all."""
        if self.longest is None:
            return None
        most = max(1, self.longest // members)
        if seconds is None:
            return most
        minutes = max(SHORTEST_MINUTES / members, seconds / 60 * TIME_MARGIN) * attempt
        return min(most, math.ceil(minutes / ROUND_MINUTES) * ROUND_MINUTES)


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
        return _rounded(MEASURED_MARGIN * max(peak for _, peak in jobs) + 2 * SNAKEMAKE, attempt)
    return _rounded(MARGIN * estimate + 2 * SNAKEMAKE, attempt)


def _longest(jobs: list[tuple[float, float]]) -> float | None:
    return max((seconds for seconds, _ in jobs), default=None)


def _rounded(megabytes: float, attempt: int) -> int:
    return math.ceil(megabytes / ROUND_MB) * ROUND_MB * attempt


def _megabytes(elements: int) -> float:
    """Of float32 values."""
    return elements * 4 / 1e6
