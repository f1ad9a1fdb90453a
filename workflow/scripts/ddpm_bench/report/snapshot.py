"""Tables and figures of the results so far, while a workflow still runs.

Reads finished files only (every file is renamed into place when it is whole), takes no lock, and
writes into a folder of its own.
"""

from collections.abc import Iterator
from pathlib import Path

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning import jobs, targets
from ddpm_bench.report.scores_so_far import all_scores, describe, scores_so_far


def snapshot(config: Config, output_folder: Path, command: str) -> Iterator[str]:
    """Write tables and figures of each experiment into `output_folder`; yield lines about them.

    command: the command to run for missing scores.
    """
    # Libraries of figures take seconds to import, which a wrong config need not wait for.
    from ddpm_bench.report.files_so_far import (
        write_comparison,
        write_experiment,
        write_sweep_so_far,
    )

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
        written = write_experiment(config, experiment, so_far.evaluation, folder)
        if written:
            yield f"  {len(written)} tables and figures in {folder}"
        yield ""
    evaluation = all_scores(tables)
    for sweep in config.sweeps:
        folder = output_folder / "report" / "sweeps" / sweep
        write_sweep_so_far(config, sweep, evaluation, folder)
        yield f"sweep {sweep}: {folder}"
    own = evaluation[evaluation["experiment"].isin(targets.compared(config))]
    if own["experiment"].nunique() > 1:
        folder = output_folder / "report"
        write_comparison(config, own.reset_index(drop=True), folder)
        yield f"all experiments together: {folder}"
