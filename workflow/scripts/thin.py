#!/usr/bin/env python
"""Remove the weights of checkpoints that are scored, but each n-th, the best and the latest.

What is removed is recorded with its sha256 and counts as trained; it does not come back.
"""

import sys
from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.selection import ThinStage
from ddpm_bench.files import read_json, write_json
from ddpm_bench.text import size_text


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--what", type=keys(ThinStage), required=True, help="keys, JSON or @file")
    options.add_argument("--experiment", type=Path, required=True, help="folder of its results")
    options.add_argument("--evaluation", type=Path, required=True, help="CSV of all scores")
    options.add_argument("--best", type=Path, required=True, help="CSV of the best checkpoints")
    options.add_argument(
        "--output", type=Path, required=True, help="what stays and what went, JSON"
    )
    args = options.parse_args()

    from ddpm_bench.report.tables.score_tables import BEST_COLUMNS, EVALUATION_COLUMNS, read_table
    from ddpm_bench.training.checkpoints import TrainingFolder
    from ddpm_bench.training.ownership import owning
    from ddpm_bench.training.thinning import thin, trained_checkpoints, why_kept

    evaluation = read_table(args.evaluation, EVALUATION_COLUMNS)
    best = read_table(args.best, BEST_COLUMNS)
    training = args.experiment / "training"
    with owning(training) as owner:
        name = read_json(training / "current.json")["fingerprint"]
        folder = TrainingFolder(args.experiment, name, owner.check)
        kept = why_kept(trained_checkpoints(folder), args.what, evaluation, best)
        report = thin(folder, kept)
        write_json(args.output, report)
    print(
        f"{len(report['removed'])} checkpoints are removed, {len(report['kept'])} stay; "
        f"{size_text(report['bytes_freed'])} are freed",
        file=sys.stderr,
    )
    if gone := report["removed_before_but_asked_for_now"]:
        print(
            f"`keep` would keep {', '.join(gone)}, which were removed before and do not come back",
            file=sys.stderr,
        )


if __name__ == "__main__":
    run(main)
