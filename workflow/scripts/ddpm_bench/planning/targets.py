"""Targets of a run: its figures, animations and tables."""

import re
from collections.abc import Iterable
from pathlib import Path

from ddpm_bench.config.experiment import Config
from ddpm_bench.errors import UserError
from ddpm_bench.planning import jobs
from ddpm_bench.planning.benchmark_cells import cell_files
from ddpm_bench.planning.loss_groups import loss_groups
from ddpm_bench.records import layout
from ddpm_bench.records.layout import (
    EVALUATION,
    FIRST_CHECKPOINTS,
    FIRST_FIGURES,
    LOSS_FIGURE,
    RECONSTRUCTION_FIGURES,
    SAMPLER_FILES,
    SCHEDULE_FIGURE,
    SCORE_FIGURES,
    SWEEP_FILES,
    THROUGHPUT_FIGURES,
    THROUGHPUT_TABLES,
)


def targets(config: Config) -> list[str]:
    """Return all files of a run on which no other file depends.

    They are those of the experiments, or of the benchmark if there are none.
    """
    if not config.trainings:
        return benchmark_targets(config)
    results = config.results_dir
    files = [layout.comparison_file(results, name) for name in names_of_comparison(config)]
    files += [layout.preview_file(results, name) for name in jobs.used_datasets(config)]
    for sweep in config.sweeps:
        files += sweep_files(config, sweep)
    for autoencoder in config.autoencoders:
        files += pictures_of_autoencoder(config, autoencoder)
    for experiment, keys in config.experiments.items():
        if jobs.sweep_of(config, experiment) is not None:
            files += member_files(config, experiment)
            continue
        figures = (LOSS_FIGURE, SCHEDULE_FIGURE, *score_figures(config, experiment))
        files += [layout.report_file(results, experiment, name) for name in figures]
        if keys.keep is not None:
            files.append(Path(jobs.thinned(config, experiment)))
        if keys.best is not None:
            files.append(best_folder(config, experiment) / "README.md")
        for samples in keys.samples:
            files += pictures_of_samples(config, experiment, samples)
        if keys.samples and keys.scores:
            files += [layout.report_file(results, experiment, name) for name in SAMPLER_FILES]
    return [str(file) for file in files]


def score_figures(config: Config, experiment: str) -> tuple[str, ...]:
    """Return the names of the figures of an experiment's scores.

    Those of the first checkpoints are among them where more are scored.
    """
    steps = {step for steps in jobs.asked_steps(config, experiment).values() for step in steps}
    if len(steps) > FIRST_CHECKPOINTS and config.trainings[experiment].scores:
        return (*SCORE_FIGURES, *FIRST_FIGURES)
    return SCORE_FIGURES


def sweep_files(config: Config, sweep: str) -> list[Path]:
    """Return the tables and figures of a sweep."""
    return [layout.sweep_file(config.results_dir, sweep, name) for name in SWEEP_FILES]


def member_files(config: Config, experiment: str) -> list[Path]:
    """Return the targets of a member of a sweep, beside its scores.

    They are its loss, and the grid of the latest checkpoint of each set: animations of fifty
    members would hide the figures of the sweep.
    """
    results, keys = config.results_dir, config.experiments[experiment]
    files = [layout.report_file(results, experiment, LOSS_FIGURE)]
    if keys.keep is not None:
        files.append(Path(jobs.thinned(config, experiment)))
    if keys.best is not None:
        files.append(best_folder(config, experiment) / "README.md")
    for samples in keys.samples:
        step = latest_step(config, experiment, samples)
        files.append(layout.grid_file(results, experiment, samples, step))
    return files


def best_folder(config: Config, experiment: str) -> Path:
    """Return the folder of the exported best checkpoint of an experiment."""
    return layout.best_file(config.results_dir, experiment, "README.md").parent


def pictures_of_autoencoder(config: Config, autoencoder: str) -> list[Path]:
    """Return the figures of an autoencoder, including those of its scores."""
    names = [LOSS_FIGURE, *RECONSTRUCTION_FIGURES]
    if config.autoencoders[autoencoder].scores:
        names += score_figures(config, autoencoder)
    return [layout.report_file(config.results_dir, autoencoder, name) for name in names]


def benchmark_targets(config: Config) -> list[str]:
    """Return all files of the benchmark. Raises UserError for a config without a benchmark.

    Cells are targets too: without that, Snakemake would not measure one again that was deleted, as
    long as the tables exist.
    """
    if config.benchmark is None:
        raise UserError(
            "benchmark: is missing; add the grid to measure (config/README.md has its keys, "
            "config/benchmark.yaml is an example)"
        )
    return [*benchmark_results(config), *cell_files(config)]


def benchmark_results(config: Config) -> list[str]:
    """Return the tables and figures of the benchmark."""
    names = (*THROUGHPUT_TABLES, *THROUGHPUT_FIGURES)
    return [str(layout.benchmark_file(config.results_dir, name)) for name in names]


def benchmark_is_measured(config: Config) -> bool:
    """Return True if all cells, tables and figures of the benchmark exist and are up to date."""
    if config.benchmark is None or not all(
        Path(path).exists() for path in benchmark_targets(config)
    ):
        return False
    newest = max(Path(path).stat().st_mtime_ns for path in cell_files(config))
    return all(Path(path).stat().st_mtime_ns >= newest for path in benchmark_results(config))


def pictures_of_samples(config: Config, experiment: str, samples: str) -> list[Path]:
    """Return the pictures of a set of samples.

    They are grids, the same noise at all checkpoints, the way from noise to images, and for each
    score the images closest to training images.
    """
    results = config.results_dir
    steps = jobs.checkpoint_steps(config, experiment, samples)
    names = [layout.denoising_animation(samples)]
    if len(steps) > 1:
        names += [layout.samples_over_training(samples, suffix) for suffix in ("png", "gif")]
    scores = config.experiments[experiment].scores
    names += [layout.closest_pairs_figure(score, samples) for score in scores]
    grids = [layout.grid_file(results, experiment, samples, step) for step in steps]
    return [layout.report_file(results, experiment, name) for name in names] + grids


def latest_step(config: Config, experiment: str, samples: str) -> int:
    """Return the training step of the last checkpoint that a set is drawn from."""
    return jobs.checkpoint_steps(config, experiment, samples)[-1]


def compared_sets(config: Config, experiment: str) -> tuple[int, list[str]]:
    """Return the checkpoint at which an experiment's samplers are compared, and their sets.

    It is the one at which most sets of equally many images are drawn; of several the latest, then
    the one with most images. The experiment must have a set of samples.
    """
    groups: dict[tuple[int, int], list[str]] = {}
    for name, keys in config.experiments[experiment].samples.items():
        for step in jobs.checkpoint_steps(config, experiment, name):
            groups.setdefault((step, keys.images), []).append(name)
    step, images = max(groups, key=lambda group: (len(groups[group]), *group))
    return step, groups[step, images]


def compared_timings(config: Config, experiment: str) -> list[str]:
    """Return the timings of the compared sets."""
    step, sets = compared_sets(config, experiment)
    return [path for name in sets for path in jobs.timing_files(config, experiment, name, step)]


def trajectories(config: Config, experiment: str) -> list[str]:
    """Return the animations from noise to images, which need the weights of a checkpoint.

    Members of a sweep have none.
    """
    if jobs.sweep_of(config, experiment) is not None:
        return []
    names = map(layout.denoising_animation, config.experiments[experiment].samples)
    return [str(layout.report_file(config.results_dir, experiment, name)) for name in names]


def compared(config: Config) -> list[str]:
    """Return the experiments that figures compare: all but members of sweeps.

    Those are compared in the figures of their sweep.
    """
    return jobs.experiments_of_their_own(config)


def names_of_comparison(config: Config) -> list[str]:
    """Return the name of one file of each rule that compares experiments.

    Losses are compared if two experiments have comparable ones.
    """
    names = ["costs.csv"]
    if config.experiments:
        names.append("all_scores.csv")
    if compared(config):
        names += ["training_hours.csv", "best_scores.png"]
    return names + (["Loss_comparison.png"] if losses_compared(config) else [])


def losses_compared(config: Config) -> list[str]:
    """Return the experiments whose losses are comparable with those of another."""
    return [name for group in loss_groups(config, compared(config)) for name in group.experiments]


def charged(config: Config) -> list[str]:
    """Return the last files of the jobs that the table of costs counts."""
    files = [
        str(path) for name in config.autoencoders for path in pictures_of_autoencoder(config, name)
    ]
    for name in config.trainings:
        if name in config.experiments:
            files.append(str(layout.report_file(config.results_dir, name, EVALUATION)))
            files += trajectories(config, name)
        files += jobs.validations(config, name)
    return files


def alternatives(names: Iterable[str]) -> str:
    """Return a pattern of these names only, for several wildcards in one file name."""
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True)) or "none"
