"""What a run shows in the end: its figures, animations and tables.

Imported at DAG time: the standard library and the configuration only.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from ddpm_bench.config.experiment import Config
from ddpm_bench.errors import UserError
from ddpm_bench.planning import jobs
from ddpm_bench.planning.benchmark_cells import FIGURES, benchmark_folder, cell_files
from ddpm_bench.planning.loss_groups import loss_groups
from ddpm_bench.records.layout import checkpoint_name

EXPERIMENT_FIGURES = (
    "FID_vs_TrainingSteps.png",
    "FID_vs_TrainingSteps_First25.png",
    "IS_vs_TrainingSteps.png",
    "IS_vs_TrainingSteps_First25.png",
    "KID_vs_TrainingSteps.png",
    "PrecisionRecall_vs_TrainingSteps.png",
    "DensityCoverage_vs_TrainingSteps.png",
    "Memorising_vs_TrainingSteps.png",
)
AUTOENCODER_FIGURES = ("reconstructions.png", "Codebooks_vs_TrainingSteps.png")
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


def targets(config: Config) -> list[str]:
    """Everything that a whole run leaves behind and nothing else depends on: of the experiments, or
    of the benchmark where there are none."""
    if not config.trainings:
        return benchmark_targets(config)
    results = Path(config.results_dir)
    files = [results / "report" / name for name in names_of_comparison(config)]
    files += [results / "datasets" / name / "preview.png" for name in jobs.used_datasets(config)]
    for sweep in config.sweeps:
        files += sweep_files(config, sweep)
    for autoencoder in config.autoencoders:
        files += pictures_of_autoencoder(config, autoencoder)
    for experiment, keys in config.experiments.items():
        report = results / experiment / "report"
        if jobs.sweep_of(config, experiment) is not None:
            files += member_files(config, experiment)
            continue
        files += [report / figure for figure in ("loss.png", "schedule.png", *EXPERIMENT_FIGURES)]
        if keys.keep is not None:
            files.append(Path(jobs.thinned(config, experiment)))
        if keys.best is not None:
            files.append(best_folder(config, experiment) / "README.md")
        for samples in keys.samples:
            files += pictures_of_samples(config, experiment, samples)
        if keys.samples and keys.scores:
            files += [report / name for name in SAMPLER_FILES]
    return [str(file) for file in files]


def sweep_files(config: Config, sweep: str) -> list[Path]:
    """The tables and figures of a sweep."""
    folder = Path(config.results_dir, "report", "sweeps", sweep)
    return [folder / name for name in SWEEP_FILES]


def member_files(config: Config, experiment: str) -> list[Path]:
    """What is looked at of each member of a sweep, beside its scores: its loss, and the grid of the
    latest checkpoint of each set. Fifty animations would hide what the sweep shows."""
    folder = Path(config.results_dir, experiment)
    keys = config.experiments[experiment]
    files = [folder / "report" / "loss.png"]
    if keys.keep is not None:
        files.append(Path(jobs.thinned(config, experiment)))
    if keys.best is not None:
        files.append(best_folder(config, experiment) / "README.md")
    for samples in keys.samples:
        step = checkpoint_name(latest_step(config, experiment, samples))
        files.append(folder / "samples" / samples / step / "grid.png")
    return files


def best_folder(config: Config, experiment: str) -> Path:
    """Where the best checkpoint of an experiment is exported."""
    return Path(config.results_dir, experiment, "best")


def pictures_of_autoencoder(config: Config, autoencoder: str) -> list[Path]:
    """What there is to look at of an autoencoder, its scores among them."""
    report = Path(config.results_dir, autoencoder, "report")
    names = ["loss.png", *AUTOENCODER_FIGURES]
    if config.autoencoders[autoencoder].scores:
        names += EXPERIMENT_FIGURES
    return [report / name for name in names]


def benchmark_targets(config: Config) -> list[str]:
    """Everything that the benchmark leaves behind. Raises UserError where the config has none.

    Its cells too: Snakemake would not miss one, deleted to be measured again, behind the tables.
    """
    if config.benchmark is None:
        raise UserError(
            "benchmark: is missing; add the grid to measure (config/README.md has its keys, "
            "config/benchmark.yaml is an example)"
        )
    return [*benchmark_results(config), *cell_files(config)]


def benchmark_results(config: Config) -> list[str]:
    """The tables and figures of the benchmark."""
    folder = benchmark_folder(config)
    return [str(folder / name) for name in ("throughput.csv", "summary.csv", *FIGURES)]


def benchmark_is_measured(config: Config) -> bool:
    """Whether every cell, table and figure of the benchmark is there, each newer than what it is
    made from."""
    if config.benchmark is None or not all(
        Path(path).exists() for path in benchmark_targets(config)
    ):
        return False
    newest = max(Path(path).stat().st_mtime_ns for path in cell_files(config))
    return all(Path(path).stat().st_mtime_ns >= newest for path in benchmark_results(config))


def pictures_of_samples(config: Config, experiment: str, samples: str) -> list[Path]:
    """What there is to look at of a set: grids, the same noise at all checkpoints, the way from
    noise, and for each score the images closest to training images."""
    folder = Path(config.results_dir, experiment)
    steps = jobs.checkpoint_steps(config, experiment, samples)
    names = [f"denoising.{samples}.gif"]
    if len(steps) > 1:
        names += [f"samples_over_training.{samples}.{suffix}" for suffix in ("png", "gif")]
    scores = config.experiments[experiment].scores
    names += [f"closest_pairs.{score}.{samples}.png" for score in scores]
    grids = [folder / "samples" / samples / checkpoint_name(step) / "grid.png" for step in steps]
    return [folder / "report" / name for name in names] + grids


def latest_step(config: Config, experiment: str, samples: str) -> int:
    """The training step of the last checkpoint that a set is drawn from."""
    return jobs.checkpoint_steps(config, experiment, samples)[-1]


def compared_sets(config: Config, experiment: str) -> tuple[int, list[str]]:
    """The checkpoint at which an experiment's samplers are compared, and the sets that are: the one
    at which most sets of equally many images are drawn; of several the latest, then most images.

    An experiment needs a set of samples.
    """
    groups: dict[tuple[int, int], list[str]] = {}
    for name, keys in config.experiments[experiment].samples.items():
        for step in jobs.checkpoint_steps(config, experiment, name):
            groups.setdefault((step, keys.images), []).append(name)
    step, images = max(groups, key=lambda group: (len(groups[group]), *group))
    return step, groups[step, images]


def compared_timings(config: Config, experiment: str) -> list[str]:
    """How long the drawing of the compared sets took."""
    step, sets = compared_sets(config, experiment)
    return [path for name in sets for path in jobs.timing_files(config, experiment, name, step)]


def trajectories(config: Config, experiment: str) -> list[str]:
    """The animations from noise to image, which need the weights of a checkpoint, as sampling; none
    of members of a sweep."""
    if jobs.sweep_of(config, experiment) is not None:
        return []
    folder = Path(config.results_dir, experiment, "report")
    return [
        str(folder / f"denoising.{name}.gif") for name in config.experiments[experiment].samples
    ]


def compared(config: Config) -> list[str]:
    """The experiments that figures of all experiments set side by side: a sweep's members have
    figures of their own."""
    return jobs.experiments_of_their_own(config)


def names_of_comparison(config: Config) -> list[str]:
    """Of each rule that sets all experiments side by side one file; losses where two compare."""
    names = ["costs.csv"]
    if config.experiments:
        names.append("all_scores.csv")
    if compared(config):
        names += ["training_hours.csv", "best_scores.png"]
    return names + (["Loss_comparison.png"] if losses_compared(config) else [])


def losses_compared(config: Config) -> list[str]:
    """The experiments whose losses stand beside those of another."""
    return [name for group in loss_groups(config, compared(config)) for name in group.experiments]


def charged(config: Config) -> list[str]:
    """The last of what is counted in the table of costs."""
    results = Path(config.results_dir)
    files = [
        str(path) for name in config.autoencoders for path in pictures_of_autoencoder(config, name)
    ]
    for name in config.trainings:
        if name in config.experiments:
            files.append(str(results / name / "report" / "evaluation_results.csv"))
            files += trajectories(config, name)
        files += jobs.validations(config, name)
    return files


def alternatives(names: Iterable[str]) -> str:
    """A pattern of these names only, for wildcards that stand side by side in a file name."""
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True)) or "none"
