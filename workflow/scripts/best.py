#!/usr/bin/env python
"""Export an experiment's best checkpoint: weights, config, samples, scores, a model card, and a
program of ten lines that draws from it with published packages alone.

`best:` of the experiment decides which checkpoint is the best.
"""

import sys
from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.selection import BestStage
from ddpm_bench.records.json_record import read_record


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--what", type=keys(BestStage), required=True, help="keys, JSON or @file")
    options.add_argument("--evaluation", type=Path, required=True, help="CSV of all scores")
    options.add_argument(
        "--manifests", type=Path, nargs="+", required=True, help="of the training's jobs"
    )
    options.add_argument(
        "--images", type=Path, required=True, help="summary.json of the prepared dataset"
    )
    options.add_argument("--experiment", type=Path, required=True, help="folder of its results")
    options.add_argument("--output-dir", type=Path, required=True, help="folder to export to")
    given = options.parse_args()

    from ddpm_bench.export.export import export_best
    from ddpm_bench.report.tables.score_tables import EVALUATION_COLUMNS, read_table

    best = export_best(
        given.what,
        read_table(given.evaluation, EVALUATION_COLUMNS),
        given.manifests,
        read_record(given.images),
        given.experiment,
        given.output_dir,
    )
    result = "nothing: its metric was measured nowhere" if best is None else f"step {best.step}"
    print(f"exported to {given.output_dir}: {result}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
