"""Tables and figures of what is done so far, while the rest still runs.

Works beside a running workflow: it reads what lies on disk (every file there is whole, since all
are renamed into place), asks for no lock, and writes into a folder of its own.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ddpm_bench.config.experiment import Config
from ddpm_bench.config.published import PublishedOf, ScoreFiguresStage
from ddpm_bench.config.reporting import HoursStage
from ddpm_bench.errors import UserError
from ddpm_bench.machine.gpu_leases import present_devices
from ddpm_bench.planning import jobs, stages, targets
from ddpm_bench.planning.loss_groups import loss_groups
from ddpm_bench.records.failures import failure_of_samples, read_failed
from ddpm_bench.records.layout import STEP_DIGITS
from ddpm_bench.report.tables.score_tables import (
    VALIDATION_COLUMNS,
    best_scores,
    join_tables,
    score_row,
    table_of,
    write_table,
)
from ddpm_bench.report.terminal.score_text import best_table


@dataclass(frozen=True)
class ScoresSoFar:
    """What the config asks for, and what of it is on disk."""

    expected: list[Path]
    evaluation: pd.DataFrame
    missing: list[Path]
    refused: list[str]  # why a score that is there cannot be read
    not_asked_for: int  # scores on disk of sets, steps or ways that the config has no more


def scores_so_far(config: Config, experiment: str) -> ScoresSoFar:
    """Read every score of an experiment that is on disk and that the config asks for."""
    expected = [Path(path) for path in jobs.score_files(config, experiment)]
    found = scores_on_disk(Path(config.results_dir, experiment))
    dataset = config.experiments[experiment].dataset
    rows, refused = [], []
    for path in found.intersection(expected):
        try:
            rows.append(score_row(path, experiment=experiment, dataset=dataset))
        except UserError as error:
            refused.append(str(error))
    return ScoresSoFar(
        expected=expected,
        evaluation=table_of(rows),
        missing=[path for path in expected if path not in found],
        refused=sorted(refused),
        not_asked_for=len(found.difference(expected)),
    )


def scores_on_disk(folder: Path) -> set[Path]:
    """Every finished score of an experiment; no temporary file, whatever it is called."""
    return {
        path
        for path in folder.glob("scores/*/*/*.json")
        if re.fullmatch(rf"step-\d{{{STEP_DIGITS}}}\.json", path.name)
    }


def snapshot(config: Config, output_folder: Path, command: str) -> Iterator[str]:
    """Write tables and figures of each experiment into `output_folder`; yields what to tell.

    `command` is what the user is told to run where nothing is scored yet.
    """
    tables = []
    if not config.experiments:
        yield "no scores: the config has no experiments"
    for experiment in config.experiments:
        so_far = scores_so_far(config, experiment)
        tables.append(so_far.evaluation)
        if jobs.sweep_of(config, experiment) is not None:
            yield f"{experiment}: {len(so_far.evaluation)} of {len(so_far.expected)} scores"
            continue
        yield from describe(experiment, so_far, command)
        folder = output_folder / experiment
        drawn = [
            *write_scores(so_far.evaluation, folder, published_of(config, experiment)),
            *draw_closest_pairs(config, experiment, folder),
            *draw_samplers(config, experiment, so_far.evaluation, folder),
            *draw_training(config, experiment, folder),
        ]
        if drawn:
            yield f"  {len(drawn)} tables and figures in {folder}"
        yield ""
    for sweep in config.sweeps:
        folder = write_sweep_so_far(config, sweep, tables, output_folder)
        yield f"sweep {sweep}: {folder}"
    own = targets.compared(config)
    scored = [table[table["experiment"].isin(own)] for table in tables if not table.empty]
    scored = [table for table in scored if not table.empty]
    if len(scored) > 1:
        folder = output_folder / "report"
        write_comparison(config, pd.concat(scored, ignore_index=True), folder)
        yield f"all experiments together: {folder}"


def write_sweep_so_far(
    config: Config, sweep: str, tables: list[pd.DataFrame], output_folder: Path
) -> Path:
    """The tables and figures of a sweep's members that are scored; returns their folder."""
    from ddpm_bench.config.reporting import SweepStage
    from ddpm_bench.report.sweeps.sweep_report import write_sweep

    members = jobs.members(config, sweep)
    scored = [table[table["experiment"].isin(members)] for table in tables if not table.empty]
    scored = [table for table in scored if not table.empty]
    evaluation = pd.concat(scored, ignore_index=True) if scored else table_of([])
    folder = output_folder / "report" / "sweeps" / sweep
    stage = SweepStage.model_validate_json(stages.sweep_stage(config, sweep))
    write_sweep(stage, Path(config.results_dir), folder, evaluation)
    return folder


def describe(experiment: str, so_far: ScoresSoFar, command: str) -> Iterator[str]:
    """How much of an experiment is scored, the best of it, and what is missing."""
    count, total = len(so_far.evaluation), len(so_far.expected)
    if total == 0:
        yield f"{experiment}: the config asks for no scores (it has no `samples` or no `scores`)"
    elif count == 0:
        yield f"{experiment}: none of {total} scores yet; to make them: {command}"
    else:
        yield f"{experiment}: {count} of {total} scores"
        yield best_table(best_scores(so_far.evaluation))
    if count:
        yield from (f"  missing: {text}" for text in missing_texts(so_far.missing))
    yield from (f"  left out: {text}" for text in so_far.refused)
    if so_far.not_asked_for:
        yield f"  left out: {so_far.not_asked_for} on disk that this config does not ask for"


def missing_texts(missing: list[Path]) -> Iterator[str]:
    """Missing scores by set and way to score, in the order of the config."""
    for folder, paths in itertools.groupby(missing, key=lambda path: path.parent):
        steps = [int(path.stem.removeprefix("step-")) for path in paths]
        listed = ", ".join(f"{step:,}" for step in steps[:6]) + (", ..." if len(steps) > 6 else "")
        plural = "s" if len(steps) > 1 else ""
        yield f"samples {folder.name}, score {folder.parent.name}: step{plural} {listed}"


def published_of(config: Config, experiment: str) -> tuple[PublishedOf, ...]:
    """What the literature reports of an experiment's dataset."""
    what = stages.score_figures_stage(config, "plot", [experiment])
    return ScoreFiguresStage.model_validate_json(what).published


def write_scores(
    evaluation: pd.DataFrame, folder: Path, published: tuple[PublishedOf, ...]
) -> list[Path]:
    """The tables and score figures of one experiment; nothing where nothing is scored."""
    if evaluation.empty:
        return []
    from ddpm_bench.report.figures.score_figures import score_figures
    from ddpm_bench.report.figures.style import save_figure

    write_table(folder / "evaluation_results.csv", evaluation)
    write_table(folder / "best_scores.csv", best_scores(evaluation))
    written = [folder / "evaluation_results.csv", folder / "best_scores.csv"]
    for name, figure in score_figures(evaluation, published):
        save_figure(figure, folder / name)
        written.append(folder / name)
    return written


def draw_training(config: Config, experiment: str, folder: Path) -> list[Path]:
    """The loss curves, and the samples of the checkpoints that have some, of one experiment."""
    written = []
    metrics = Path(config.results_dir, experiment, "metrics.csv")
    if metrics.exists():
        from ddpm_bench.report.figures.loss_figure import loss_figure
        from ddpm_bench.report.figures.style import save_figure
        from ddpm_bench.report.tables.losses import read_losses

        done = [path for path in map(Path, jobs.validations(config, experiment)) if path.exists()]
        validation = join_tables(done, VALIDATION_COLUMNS)
        save_figure(loss_figure(read_losses(metrics), "Loss", validation), folder / "loss.png")
        written.append(folder / "loss.png")
    for samples in config.experiments[experiment].samples:
        written += draw_samples(config, experiment, samples, folder)
    return written


def draw_samples(config: Config, experiment: str, samples: str, folder: Path) -> list[Path]:
    """The samples of the checkpoints that have some, side by side and one after the other."""
    steps = jobs.checkpoint_steps(config, experiment, samples)
    firsts = map(Path, jobs.first_sample_files(config, experiment, samples))
    drawn = {step: path for step, path in zip(steps, firsts, strict=True) if path.exists()}
    steps = [step for step, path in drawn.items() if failure_of_samples([path]) is None]
    if not steps:
        return []
    from ddpm_bench.report.figures.animations import save_animation, training_frames
    from ddpm_bench.report.figures.sample_pictures import samples_over_training
    from ddpm_bench.report.figures.style import save_figure

    title, files = "Samples over training", [drawn[step] for step in steps]
    written = [folder / f"samples_over_training.{samples}.{suffix}" for suffix in ("png", "gif")]
    save_figure(samples_over_training(steps, files, title), written[0])
    save_animation(training_frames(steps, files, title), written[1])
    return written


def draw_closest_pairs(config: Config, experiment: str, folder: Path) -> list[Path]:
    """The images closest to training images, of the latest checkpoint that is drawn and scored."""
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
        from ddpm_bench.records.nearest import read_nearest
        from ddpm_bench.report.figures.closest_pairs import (
            closest_figure,
            closest_pairs,
            closest_title,
        )
        from ddpm_bench.report.figures.style import save_figure

        distances = read_nearest(path)
        pairs = closest_pairs(distances, files, train)
        space = keys.scores[score].feature_space
        written.append(folder / f"closest_pairs.{score}.{samples}.png")
        save_figure(closest_figure(distances, pairs, space, closest_title(path)), written[-1])
    return written


def draw_samplers(
    config: Config, experiment: str, evaluation: pd.DataFrame, folder: Path
) -> list[Path]:
    """The comparison of the samplers that are scored at the checkpoint where all will be."""
    sets = config.experiments[experiment].samples
    if not sets or evaluation.empty:
        return []
    step, _ = targets.compared_sets(config, experiment)
    timings = [Path(path) for path in targets.compared_timings(config, experiment)]
    drawn = [path for path in timings if path.exists() and read_failed(path) is None]
    if not drawn or step not in set(evaluation["training_step"]):
        return []
    from ddpm_bench.report.figures.sampler_figure import write_comparison

    return write_comparison(evaluation, drawn, dict(sets), step, folder)


def write_comparison(config: Config, evaluation: pd.DataFrame, folder: Path) -> None:
    """The tables and figures of all experiments together."""
    from ddpm_bench.report.figures.best_scores_figure import best_figure
    from ddpm_bench.report.figures.hours_figures import hours_figures
    from ddpm_bench.report.figures.published_lines import with_published
    from ddpm_bench.report.figures.score_figures import comparison_figures
    from ddpm_bench.report.figures.style import save_figure
    from ddpm_bench.report.tables.training_hours import training_hours

    results, names = Path(config.results_dir), targets.compared(config)
    what = HoursStage.model_validate_json(stages.hours_stage(config, names))
    best = best_scores(evaluation)
    hours = training_hours(results, evaluation, what.experiments, bool(present_devices()))
    write_table(folder / "all_scores.csv", evaluation)
    write_table(folder / "best_scores.csv", with_published(best, what.published))
    write_table(folder / "training_hours.csv", hours)
    figures = [
        *comparison_figures(evaluation, what.published),
        *hours_figures(evaluation, hours, what.published),
        ("best_scores.png", best_figure(best, what.published, "Best scores so far")),
    ]
    for name, figure in figures:
        save_figure(figure, folder / name)
    compare_losses(config, folder)


def compare_losses(config: Config, folder: Path) -> None:
    """The losses of trainings that have begun, where they compare."""
    from ddpm_bench.report.figures.loss_comparison import loss_comparison
    from ddpm_bench.report.figures.style import save_figure
    from ddpm_bench.report.tables.losses import read_losses

    metrics = {
        name: Path(config.results_dir, name, "metrics.csv") for name in targets.compared(config)
    }
    begun = [name for name, path in metrics.items() if path.exists()]
    groups = loss_groups(config, begun)
    if groups:
        losses = {name: read_losses(metrics[name]) for name in begun}
        figure = loss_comparison(groups, losses, "Training losses so far")
        save_figure(figure, folder / "Loss_comparison.png")
