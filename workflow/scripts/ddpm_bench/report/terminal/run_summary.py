"""The terminal summary of a finished workflow: scores, and the paths of all results."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning import jobs
from ddpm_bench.planning.current_results import CurrentResults
from ddpm_bench.planning.targets import best_folder
from ddpm_bench.records.checksums import check_file
from ddpm_bench.records.json_record import read_record
from ddpm_bench.records.layout import checkpoint_name
from ddpm_bench.records.scores import METRICS
from ddpm_bench.report.tables.score_tables import (
    EVALUATION_COLUMNS,
    GROUP,
    best_row,
    metric_label,
    ordered_metrics,
    read_table,
)
from ddpm_bench.report.terminal.score_text import score_table
from ddpm_bench.report.terminal.sweep_summary import sweep_summary
from ddpm_bench.report.text import value_text


def summary(config: Config, command: str) -> Iterator[str]:
    """Yield lines for each experiment, then the path of the report.

    command: the command to run for missing results.
    """
    results = Path(config.results_dir)
    if not config.trainings:
        yield "no scores: the config has no experiments"
    for sweep in config.sweeps:
        yield from sweep_summary(config, sweep, command)
        yield ""
    for training in (*config.autoencoders, *jobs.experiments_of_their_own(config)):
        yield from training_summary(config, training, command)
        yield ""
    page = results / "report.html"
    if len(config.experiments) > 1 and (results / "report").is_dir():
        yield f"all experiments together: {results / 'report'}"
    yield from costs(results / "report")
    yield (
        f"report:  {page}" if page.exists() else f"report:  {page} does not exist yet: make report"
    )


def costs(folder: Path) -> Iterator[str]:
    """Yield one line with the hours used; none if they are not collected yet."""
    table = folder / "costs.csv"
    if table.exists():
        check_file(table)
        used = pd.read_csv(table)
        gpu_hours = used["gpu_hours"].sum()
        gpus = f" and {gpu_hours:.3g} GPU-hours" if gpu_hours else ""
        yield f"used:    {used['wall_hours'].sum():.3g} hours of jobs{gpus}: {folder / 'Costs.png'}"


def training_summary(config: Config, experiment: str, command: str) -> Iterator[str]:
    """Yield the scores of an experiment or autoencoder, its best checkpoints and its figures."""
    keys = config.trainings[experiment]
    folder = Path(config.results_dir, experiment, "report")
    evaluation_file, best_file = folder / "evaluation_results.csv", folder / "best_scores.csv"
    kind = "autoencoder, " if experiment in config.autoencoders else ""
    yield f"{experiment}: {kind}dataset {keys.dataset}, {keys.train.steps:,} training steps"
    if kind:
        yield from reconstructions(config, experiment)
    if kind and not keys.scores:
        yield f"figures: {folder}"
        return
    if not (evaluation_file.exists() and best_file.exists()):
        yield f"  not collected yet; to make it: {command} (make snapshot shows partial results)"
        return
    evaluation = read_table(evaluation_file, EVALUATION_COLUMNS)
    if evaluation.empty:
        yield "  the config has no scores for it"
    else:
        if not CurrentResults(config).are_current(str(evaluation_file)):
            yield f"  warning: made with other settings or inputs than the present; anew: {command}"
        yield score_table(evaluation)
        yield from best_checkpoints(evaluation, Path(config.results_dir, experiment))
        yield from exported(best_folder(config, experiment))
    yield f"figures: {folder}"


def exported(folder: Path) -> Iterator[str]:
    """Yield the path of the exported best checkpoint; nothing if none is exported."""
    record = folder / "scores.json"
    if not record.exists():
        return
    found = read_record(record, "value", "metric")
    if found["value"] is None:
        yield f"exported: nothing; {METRICS[found['metric']].name} was measured at no checkpoint"
    else:
        yield f"exported: step {found['training_step']:,}, {folder} (python {folder / 'sample.py'})"


def reconstructions(config: Config, autoencoder: str) -> Iterator[str]:
    """Yield the errors of the latest reconstructions, and the use of the codes."""
    latest = jobs.reconstruction_files(config, autoencoder, "summary.json")[-1]
    if not Path(latest).exists():
        return
    record = read_record(Path(latest), "codebooks", "psnr_db")
    use = ", ".join(
        f"{codebook['perplexity']:.0f} of {codebook['codes']:,}" for codebook in record["codebooks"]
    )
    # null: no error, an infinite PSNR
    psnr = "infinite" if record["psnr_db"] is None else f"{record['psnr_db']:.2f} dB"
    error = f"mean squared error {record['mse']:.4g}, PSNR {psnr}"
    yield f"  {record['images']:,} images reconstructed at step {record['step']:,}: {error}"
    yield f"  codes in use (perplexity): {use}"
    if record["warning"]:
        yield f"  warning: {record['warning']}"


def best_checkpoints(evaluation: pd.DataFrame, folder: Path) -> Iterator[str]:
    """Yield a line for each group of scores: the best by FID, or by KID if FID is biased."""
    for _, group in evaluation.groupby(GROUP, sort=True):
        metric = ordered_metrics(group)[0]
        best = best_row(group, metric)
        if best is None:
            continue
        name = f"{checkpoint_name(best['training_step'])}.safetensors"
        equal = int((group[metric.column] == best[metric.column]).sum()) - 1
        others = f" (the earliest of {equal + 1} equal ones)" if equal else ""
        yield (
            f"best checkpoint by {metric_label(best, metric)}, samples {best['samples']}: "
            f"step {best['training_step']:,}, {metric.name} {value_text(best, metric)}{others}, "
            f"{folder / 'checkpoints' / name}"
        )
