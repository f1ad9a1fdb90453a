"""Memory that each job asks for, from earlier jobs or from the sizes of its data.

If jobs of the same work have run, memory follows from theirs (earlier_jobs.py). Before that it
follows from the sizes of network, batch, images and features, by coefficients that
`python comparisons/needs.py` fits to runs of the programs (table in comparisons/README.md). The
fits are of machines without a GPU. With a GPU, the memory that the GPU holds is requested all the
same, which has to cover the host memory that CUDA takes; that was not measured. A job for which it
is too little is sent again with twice as much.
"""

from pathlib import Path

from ddpm_bench.config.autoencoder import ENCODING_BATCH
from ddpm_bench.config.benchmark import Cell
from ddpm_bench.config.dataset import PUBLISHED_SPLITS
from ddpm_bench.config.scoring import DINOV2_DIMENSIONS, Score
from ddpm_bench.config.training import VALIDATION_BATCH
from ddpm_bench.planning.estimates import Estimates
from ddpm_bench.planning.finished_jobs import TimeAndMemory
from ddpm_bench.planning.jobs import autoencoder_of, score_of_space
from ddpm_bench.planning.network_size import NetworkSize, network_size
from ddpm_bench.planning.request_rounding import rounded_mb
from ddpm_bench.records.benchmark_files import SNAKEMAKE_MIB

# Measured by comparisons/needs.py on the CPU, in megabytes of 10^6 bytes: programs with their
# modules imported, before they hold data of a size that the config decides.
SNAKEMAKE = SNAKEMAKE_MIB * 2**20 / 1e6
TRAINING = 969
COMPILING = 561  # torch.compile and the compilers that it starts, on two cores
DRAWING = 950
FEATURES = 693
SCORING = 931
FIGURES = 383  # samples of 75 checkpoints, the largest of the programs that draw
EXPORTING = 979  # torch and diffusers, which write the export's program and scheduler
DECODER = 93  # each process that decodes images, and
DECODED_BYTES = 7.0  # bytes for each pixel of the image that it decodes
INCEPTION = 574  # the network and its activations at 16 images
# Bytes for each byte of weights. Training holds weights, gradients, an average and two moments, and
# temporary copies; and one more for each further average. Drawing holds the weights alone.
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
INCEPTION_DIMENSIONS = 2048
# Not measured:
LATENTS = 8.0  # bytes for each byte of latents in float32, which are scaled in float64
CELL_PROCESS = 4000  # a process of a cell of the benchmark, which has any model

# Runs needed up to 1.14 times the fitted memory, and another machine's libraries differ.
MARGIN = 1.3
# Snakemake samples a job's memory each half second at first, each 30 s later, and misses peaks.
MEASURED_MARGIN = 1.5


class MemoryEstimates(Estimates):
    """Memory of the jobs of a config, in megabytes of 10^6 bytes.

    attempt: 1 for a job's first start; each attempt asks for more than the one before.
    """

    # Datasets

    def preparing_mb(self, dataset: str, attempt: int = 1) -> int:
        """Return the memory of a job that prepares a dataset.

        Each process may hold an image of the largest size that is decoded.
        """
        keys = self.config.datasets[dataset]
        jobs = self.measured.dataset_jobs("prepare", dataset)
        small = keys.source.kind in ("sklearn-digits", *PUBLISHED_SPLITS)
        pixels = 0 if small else keys.max_megapixels
        processes = keys.run.cpus * (DECODER + DECODED_BYTES * pixels)
        return _asked(jobs, FIGURES + processes, attempt)

    def classifier_mb(self, dataset: str, attempt: int = 1) -> int:
        """Return the memory of a job that trains a dataset's classifier."""
        jobs = self.measured.dataset_jobs("train_classifier", dataset)
        return _asked(jobs, TRAINING, attempt)

    def feature_mb(self, dataset: str, space: str, split: str, attempt: int = 1) -> int:
        """Return the memory of a job that computes the features of a dataset's own images."""
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

    # Networks

    def training_mb(self, experiment: str, attempt: int = 1) -> int:
        """Return the memory of all processes of a training job on one node."""
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
        """Return the memory of a job that computes validation losses."""
        keys = self.config.trainings[experiment].train
        batch = min(VALIDATION_BATCH, keys.run.micro_batch_size or VALIDATION_BATCH)
        estimate = self._forward_mb(experiment, batch)
        return _asked(self.measured.jobs("validate", experiment), estimate, attempt)

    def sampling_mb(self, experiment: str, samples: str, attempt: int = 1) -> int:
        """Return the memory of a job that draws a set of samples."""
        keys = self.config.experiments[experiment].samples[samples]
        jobs = self.measured.sampling_jobs(experiment, samples)
        estimate = self._forward_mb(experiment, keys.batch_size)
        chosen = autoencoder_of(self.config, experiment)
        if chosen is not None:  # the decoder is held beside the model
            estimate += self._forward_mb(chosen, keys.batch_size) - DRAWING
        return _asked(jobs, estimate, attempt)

    def encoding_mb(self, autoencoder: str, attempt: int = 1) -> int:
        """Return the memory of a job that encodes a dataset, whose latents are held in memory."""
        keys = self.config.autoencoders[autoencoder]
        latents = keys.model.latents_of(self.config.datasets[keys.dataset].image_size)
        values = latents.channels * latents.size**2 * self.measured.images(keys.dataset)
        estimate = self._forward_mb(autoencoder, ENCODING_BATCH) + LATENTS * _megabytes(values)
        return _asked(self.measured.jobs("encode", autoencoder), estimate, attempt)

    def reconstructing_mb(self, autoencoder: str, attempt: int = 1) -> int:
        """Return the memory of a job that reconstructs held-out images."""
        jobs = self.measured.jobs("reconstruct", autoencoder)
        return _asked(jobs, self._forward_mb(autoencoder, ENCODING_BATCH), attempt)

    # Scores, figures and cells

    def scoring_mb(self, experiment: str, score: str, samples: str, attempt: int = 1) -> int:
        """Return the memory of a job that scores a set of samples."""
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

    def small_mb(self, attempt: int = 1) -> int:
        """Return the memory of a job that draws figures."""
        return rounded_mb(MARGIN * FIGURES + SNAKEMAKE, attempt)

    def exporting_mb(self, attempt: int = 1) -> int:
        """Return the memory of the export of a checkpoint, whose weights are linked, not loaded."""
        return rounded_mb(MARGIN * EXPORTING + SNAKEMAKE, attempt)

    def cell_mb(self, cell: Cell, attempt: int = 1) -> int:
        """Return the memory of all processes of a cell of the benchmark on one node.

        The limit of a process may be that of a GPU's memory, so a lower one asks for no less.
        """
        assert self.config.benchmark is not None
        each = max(self.config.benchmark.memory_mb_per_process or 0, CELL_PROCESS)
        return rounded_mb(cell.processes * each + SNAKEMAKE, attempt)

    # Sizes

    def _network(self, experiment: str) -> NetworkSize:
        keys = self.config.trainings[experiment]
        dataset = self.config.datasets[keys.dataset]
        chosen = autoencoder_of(self.config, experiment)
        if chosen is None:
            return network_size(keys.model, dataset.channels, dataset.image_size)
        latents = self.config.autoencoders[chosen].model.latents_of(dataset.image_size)
        return network_size(keys.model, latents.channels, latents.size)

    def _forward_mb(self, experiment: str, batch: int) -> float:
        """Return the memory of a program that runs a network without gradients."""
        size = self._network(experiment)
        return (
            DRAWING
            + DRAWING_COPIES * _megabytes(size.parameters)
            + batch * DRAWING_ACTIVATIONS * _megabytes(size.widest)
            + batch * DRAWING_ATTENTION * _megabytes(size.attention)
        )

    def _space(self, dataset: str, score: Score) -> tuple[float, int]:
        """Return the megabytes of a feature space's network, and the dimensions of its features."""
        if score.features == "classifier":
            return 0.0, self.config.datasets[dataset].classifier.features
        if score.features == "inception":
            return INCEPTION, INCEPTION_DIMENSIONS
        assert score.weights is not None and score.weights.name is not None
        weights = Path(score.weights.path).stat().st_size / 1e6
        # Activations are taken to be those of Inception, which sees larger images.
        return INCEPTION + DRAWING_COPIES * weights, DINOV2_DIMENSIONS[score.weights.name]


def _asked(jobs: list[TimeAndMemory], estimate: float, attempt: int) -> int:
    """Return the memory to ask for, by the peaks of earlier jobs, or else by an estimate."""
    if jobs:
        return rounded_mb(MEASURED_MARGIN * max(peak for _, peak in jobs) + SNAKEMAKE, attempt)
    return rounded_mb(MARGIN * estimate + SNAKEMAKE, attempt)


def _megabytes(elements: int) -> float:
    """Return the size of float32 values in megabytes."""
    return elements * 4 / 1e6
