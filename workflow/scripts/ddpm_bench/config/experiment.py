"""Types of an experiment and of the whole config."""

import functools
from collections.abc import Iterator
from typing import Any

from pydantic import Field, PrivateAttr

from ddpm_bench.config.autoencoder import Autoencoder
from ddpm_bench.config.benchmark import Benchmark
from ddpm_bench.config.block import Block, Name
from ddpm_bench.config.dataset import Dataset
from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.job_names import misnamed_jobs
from ddpm_bench.config.networks import Model
from ddpm_bench.config.paths import OutputFolder
from ddpm_bench.config.published import PublishedScore
from ddpm_bench.config.sampling import Samples, count_chosen
from ddpm_bench.config.score_sizes import (
    NeededImages,
    most_images,
    needed_of_reference,
    too_few_of_reference,
    too_few_samples,
)
from ddpm_bench.config.scoring import Score
from ddpm_bench.config.selection import Best, Keep
from ddpm_bench.config.solver_limits import noise_note, solver_misfits, start_note
from ddpm_bench.config.sweep import Sweep
from ddpm_bench.config.sweep_members import SweptExperiment
from ddpm_bench.config.training import Train, Validation

MOST_JOBS = 200_000  # Snakemake plans some tens of jobs in a second


class Experiment(Block):
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
    keep: Keep | None = Field(None, description="Checkpoints to keep; null: all.")
    best: Best | None = Field(None, description="Checkpoint to export; null: none.")
    published: tuple[PublishedScore, ...] = Field(
        (), description="Scores that the literature reports, for figures and tables."
    )
    sweep: Sweep | None = Field(
        None,
        description="Several values of keys, each combination an experiment; null: one experiment.",
    )

    def problems(self) -> Iterator[str]:
        if self.best is not None:
            yield from self.best.misfits(self.samples, self.scores)
        for name, drawing in self.samples.items():
            for misfit in solver_misfits(drawing, self.diffusion, self.autoencoder is not None):
                yield f"samples.{name}: {misfit}"
        if self.diffusion.rescale_zero_terminal_snr and self.train.min_snr_gamma is not None:
            yield (
                f"train.min_snr_gamma = {self.train.min_snr_gamma:g} weights the last timestep of "
                "diffusion.rescale_zero_terminal_snr with its SNR, which is 0; remove one"
            )
        images = {f"samples.{name}": keys.images for name, keys in self.samples.items()}
        yield from too_few_samples(self.scores, images)


def _jobs(training: Autoencoder | Experiment) -> int:
    """Return the number of jobs of a training, of its sets of samples and of their scores."""
    train = training.train
    jobs = train.steps // (train.run.steps_per_job or train.steps)
    for samples in training.samples.values():
        pieces = 1
        if isinstance(samples, Samples) and samples.run.images_per_job:
            pieces = -(-samples.images // samples.run.images_per_job)
        jobs += count_chosen(samples.checkpoints, train) * (pieces + len(training.scores))
    return jobs


class Config(Block):
    """The config file: folders, datasets, autoencoders, experiments and throughput benchmark."""

    results_dir: OutputFolder = Field(
        "results", description="Folder of everything that is computed."
    )
    resources_dir: OutputFolder = Field(
        "resources", description="Folder of downloads: datasets, Inception weights."
    )
    datasets: dict[Name, Dataset] = Field({}, description="Named datasets.")
    autoencoders: dict[Name, Autoencoder] = Field({}, description="Named autoencoders.")
    defaults: dict[str, Any] = Field({}, description="Keys that are merged under every experiment.")
    experiments: dict[Name, Experiment] = Field({}, description="Named experiments.")
    benchmark: Benchmark | None = Field(
        None, description="Speed of training and its scaling, measured by `snakemake benchmark`."
    )
    _sweeps: dict[str, SweptExperiment] = PrivateAttr(default_factory=dict)

    @property
    def sweeps(self) -> dict[str, SweptExperiment]:
        """The sweeps by name; `experiments` has their members in place of them."""
        return self._sweeps

    @functools.cached_property
    def trainings(self) -> dict[str, Autoencoder | Experiment]:
        """All that is trained, by name: autoencoders first, whose latents experiments need."""
        return {**self.autoencoders, **self.experiments}

    def notes(self) -> list[str]:
        """Return a line for each schedule and each set of samples that have too little noise.

        A line names the experiments that it is about.
        """
        users: dict[tuple[str, str], list[str]] = {}
        for name, keys in self.experiments.items():
            found = {"diffusion": noise_note(keys.diffusion)}
            in_latents = keys.autoencoder is not None
            for samples, drawing in keys.samples.items() if not found["diffusion"] else ():
                found[f"samples.{samples}"] = start_note(drawing, keys.diffusion, in_latents)
            for block, note in found.items():
                if note is not None:
                    users.setdefault((block, note), []).append(name)
        return [f"{block} of {some_of(names)}: {note}" for (block, note), names in users.items()]

    def problems(self) -> Iterator[str]:
        """Yield what cannot lie side by side, and too much work for one workflow."""
        jobs = sum(map(_jobs, self.trainings.values()))
        if jobs > MOST_JOBS:
            yield (
                f"experiments have {jobs:,} jobs together, more than {MOST_JOBS:,}, whose planning "
                "alone takes hours; draw from fewer checkpoints (samples.NAME.checkpoints), raise "
                "run.images_per_job, or make several configs with a results_dir each"
            )
            return
        yield from misnamed_jobs(self.trainings)
        yield from self._files_that_share_a_name()
        for training, keys in self.trainings.items():
            if keys.dataset in self.datasets:
                images = most_images(self.datasets[keys.dataset])
                yield from too_few_of_reference(self.needed_images(training), images)

    def needed_images(self, training: str) -> tuple[NeededImages, ...]:
        """Return what the scores of an experiment or autoencoder need of their references."""
        kind = "experiments" if training in self.experiments else "autoencoders"
        return needed_of_reference(f"{kind}.{training}", self.trainings[training].scores)

    def _files_that_share_a_name(self) -> Iterator[str]:
        """Yield files that share a name, by which tables would treat their scores as comparable."""
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


def some_of(names: list[str]) -> str:
    """Return the first three names as text, and the number of the others."""
    others = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + others
