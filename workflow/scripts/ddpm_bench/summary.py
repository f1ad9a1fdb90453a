"""What a finished workflow tells in the terminal: the scores, and where everything lies."""

from collections.abc import Iterator
from pathlib import Path

from . import plan
from .config.loading import Config
from .tables import (
    BEST_COLUMNS,
    EVALUATION_COLUMNS,
    METRICS,
    feature_space_label,
    read_table,
    score_table,
)


def summary(config: Config, command: str) -> Iterator[str]:
    """Lines for each experiment, then where the report is; `command` would make what is missing."""
    results = Path(config.results_dir)
    for experiment in config.experiments:
        yield from experiment_summary(config, experiment, command)
        yield ""
    page = results / "report.html"
    if len(config.experiments) > 1 and (results / "report").is_dir():
        yield f"all experiments together: {results / 'report'}"
    yield f"report:  {page}" if page.exists() else f"report:  {page} is not there yet: make report"


def experiment_summary(config: Config, experiment: str, command: str) -> Iterator[str]:
    """The table of scores of one experiment, its best checkpoint by FID, and its figures."""
    keys = config.experiments[experiment]
    folder = Path(config.results_dir, experiment, "report")
    evaluation_file, best_file = folder / "evaluation_results.csv", folder / "best_scores.csv"
    yield f"{experiment}: dataset {keys.dataset}, {keys.train.steps:,} training steps"
    if not (evaluation_file.exists() and best_file.exists()):
        yield f"  not collected yet; to make it: {command} (make snapshot shows what is there)"
        return
    evaluation = read_table(evaluation_file, EVALUATION_COLUMNS)
    best = read_table(best_file, BEST_COLUMNS)
    if evaluation.empty:
        yield "  the config asks for no scores of it"
    else:
        yield score_table(evaluation, best)
        for row in best[best["metric"] == "fid"].to_dict("records"):
            name = f"{plan.checkpoint_name(row['training_step'])}.safetensors"
            yield (
                f"best checkpoint by FID ({feature_space_label(row['feature_space'])}, "
                f"samples {row['samples']}): step {row['training_step']:,}, "
                f"FID {row['value']:.{METRICS['fid'].decimals}f}, "
                f"{Path(config.results_dir, experiment, 'checkpoints', name)}"
            )
    yield f"figures: {folder}"
