"""The tables and figures of results that are done so far, each written if its inputs exist."""

import itertools
from pathlib import Path

import pandas as pd

from ddpm_bench.config.experiment import Config
from ddpm_bench.config.published import PublishedOf, ScoreFiguresStage
from ddpm_bench.config.reporting import HoursStage, SweepStage
from ddpm_bench.machine.gpu_listing import present_devices
from ddpm_bench.planning import jobs, stages, targets
from ddpm_bench.planning.loss_groups import loss_groups
from ddpm_bench.records.failures import failure_of_samples, read_failed
from ddpm_bench.records.nearest import read_nearest
from ddpm_bench.report.figures.animations import save_animation, training_frames
from ddpm_bench.report.figures.best_scores_figure import best_figure
from ddpm_bench.report.figures.closest_pairs import closest_figure, closest_pairs, closest_title
from ddpm_bench.report.figures.hours_figures import hours_figures
from ddpm_bench.report.figures.loss_comparison import loss_comparison
from ddpm_bench.report.figures.loss_figure import loss_figure
from ddpm_bench.report.figures.published_lines import with_published
from ddpm_bench.report.figures.sample_pictures import samples_over_training
from ddpm_bench.report.figures.sampler_figure import write_sampler_comparison
from ddpm_bench.report.figures.score_figures import (
    comparison_figures,
    first_figures,
    has_more_than_the_first,
    score_figures,
)
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.report.sweeps.sweep_report import write_sweep
from ddpm_bench.report.tables.losses import read_losses
from ddpm_bench.report.tables.score_tables import (
    VALIDATION_COLUMNS,
    best_scores,
    join_tables,
    write_table,
)
from ddpm_bench.report.tables.training_hours import training_hours


def write_experiment(
    config: Config, experiment: str, evaluation: pd.DataFrame, folder: Path
) -> list[Path]:
    """Write all tables and figures of one experiment into a folder; return their paths.

    evaluation: its scores so far, a `score_tables.evaluation_table`.
    """
    return [
        *write_scores(evaluation, folder, published_of(config, experiment)),
        *draw_closest_pairs(config, experiment, folder),
        *draw_samplers(config, experiment, evaluation, folder),
        *draw_training(config, experiment, folder),
    ]


def published_of(config: Config, experiment: str) -> tuple[PublishedOf, ...]:
    """Return the published scores for an experiment's dataset."""
    stage = stages.score_figures_stage(config, "plot", [experiment])
    return ScoreFiguresStage.model_validate_json(stage).published


def write_scores(
    evaluation: pd.DataFrame, folder: Path, published: tuple[PublishedOf, ...]
) -> list[Path]:
    """Write the tables and score figures of one experiment; nothing if it has no scores."""
    if evaluation.empty:
        return []
    write_table(folder / "evaluation_results.csv", evaluation)
    write_table(folder / "best_scores.csv", best_scores(evaluation))
    written = [folder / "evaluation_results.csv", folder / "best_scores.csv"]
    figures = [score_figures(evaluation, published)]
    if has_more_than_the_first(evaluation):
        figures.append(first_figures(evaluation, published))
    for name, figure in itertools.chain(*figures):
        save_figure(figure, folder / name)
        written.append(folder / name)
    return written


def draw_training(config: Config, experiment: str, folder: Path) -> list[Path]:
    """Draw the losses of one experiment, and the samples of the checkpoints that have some."""
    written = []
    metrics = Path(config.results_dir, experiment, "metrics.csv")
    if metrics.exists():
        done = [path for path in map(Path, jobs.validations(config, experiment)) if path.exists()]
        validation = join_tables(done, VALIDATION_COLUMNS)
        save_figure(loss_figure(read_losses(metrics), "Loss", validation), folder / "loss.png")
        written.append(folder / "loss.png")
    for samples in config.experiments[experiment].samples:
        written += draw_samples(config, experiment, samples, folder)
    return written


def draw_samples(config: Config, experiment: str, samples: str, folder: Path) -> list[Path]:
    """Draw the samples of the checkpoints that have some, as a picture and an animation."""
    steps = jobs.checkpoint_steps(config, experiment, samples)
    firsts = map(Path, jobs.first_sample_files(config, experiment, samples))
    drawn = {step: path for step, path in zip(steps, firsts, strict=True) if path.exists()}
    steps = [step for step, path in drawn.items() if failure_of_samples([path]) is None]
    if not steps:
        return []
    title, files = "Samples over training", [drawn[step] for step in steps]
    written = [folder / f"samples_over_training.{samples}.{suffix}" for suffix in ("png", "gif")]
    save_figure(samples_over_training(steps, files, title), written[0])
    save_animation(training_frames(steps, files, title), written[1])
    return written


def draw_closest_pairs(config: Config, experiment: str, folder: Path) -> list[Path]:
    """Draw the images closest to training images, of the latest sampled and scored checkpoint."""
    keys, written = config.experiments[experiment], []
    train = Path(jobs.prepared_images(config, keys.dataset, "train"))
    for score, samples in itertools.product(keys.scores, keys.samples):
        steps = jobs.checkpoint_steps(config, experiment, samples)
        nearest = map(Path, jobs.nearest_files(config, experiment, score, samples))
        drawn = [
            [Path(file) for file in jobs.sample_files(config, experiment, samples, step)]
            for step in steps
        ]
        found = [
            (path, files)
            for path, files in zip(nearest, drawn, strict=True)
            if path.exists() and failure_of_samples(files) is None
        ]
        if not found:
            continue
        path, files = found[-1]
        if not all(file.exists() for file in (train, *files)):
            continue
        distances = read_nearest(path)
        pairs = closest_pairs(distances, files, train)
        space = keys.scores[score].feature_space
        written.append(folder / f"closest_pairs.{score}.{samples}.png")
        save_figure(closest_figure(distances, pairs, space, closest_title(path)), written[-1])
    return written


def draw_samplers(
    config: Config, experiment: str, evaluation: pd.DataFrame, folder: Path
) -> list[Path]:
    """Write the comparison of the samplers scored so far at the checkpoint to compare."""
    sets = config.experiments[experiment].samples
    if not sets or evaluation.empty:
        return []
    step, _ = targets.compared_sets(config, experiment)
    timings = [Path(path) for path in targets.compared_timings(config, experiment)]
    drawn = [path for path in timings if path.exists() and read_failed(path) is None]
    if not drawn or step not in set(evaluation["training_step"]):
        return []
    return write_sampler_comparison(evaluation, drawn, dict(sets), step, folder)


def write_sweep_so_far(config: Config, sweep: str, evaluation: pd.DataFrame, folder: Path) -> None:
    """Write the tables and figures of a sweep into a folder; evaluation: all scores so far."""
    own = evaluation["experiment"].isin(jobs.members(config, sweep))
    stage = SweepStage.model_validate_json(stages.sweep_stage(config, sweep))
    write_sweep(stage, Path(config.results_dir), folder, evaluation[own].reset_index(drop=True))


def write_comparison(config: Config, evaluation: pd.DataFrame, folder: Path) -> None:
    """Write the tables and figures of all experiments together; evaluation: their scores."""
    results, names = Path(config.results_dir), targets.compared(config)
    stage = HoursStage.model_validate_json(stages.hours_stage(config, names))
    best = best_scores(evaluation)
    hours = training_hours(results, evaluation, stage.experiments, bool(present_devices()))
    write_table(folder / "all_scores.csv", evaluation)
    write_table(folder / "best_scores.csv", with_published(best, stage.published))
    write_table(folder / "training_hours.csv", hours)
    figures = [
        *comparison_figures(evaluation, stage.published),
        *hours_figures(evaluation, hours, stage.published),
        ("best_scores.png", best_figure(best, stage.published, "Best scores so far")),
    ]
    for name, figure in figures:
        save_figure(figure, folder / name)
    compare_losses(config, folder)


def compare_losses(config: Config, folder: Path) -> None:
    """Draw the losses of trainings that have started, where they are comparable."""
    metrics = {
        name: Path(config.results_dir, name, "metrics.csv") for name in targets.compared(config)
    }
    started = [name for name, path in metrics.items() if path.exists()]
    groups = loss_groups(config, started)
    if groups:
        losses = {name: read_losses(metrics[name]) for name in started}
        figure = loss_comparison(groups, losses, "Training losses so far")
        save_figure(figure, folder / "Loss_comparison.png")
