#!/usr/bin/env python
"""Remove the weights of checkpoints that are scored, but each n-th, the best and the latest.

Removed weights are recorded with their sha256 and count as trained; they do not come back.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.selection import ThinStage


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--what", type=keys(ThinStage), required=True, help="keys, JSON or @file")
    options.add_argument("--experiment", type=Path, required=True, help="folder of its results")
    options.add_argument("--evaluation", type=Path, required=True, help="CSV of all scores")
    options.add_argument("--best", type=Path, required=True, help="CSV of the best checkpoints")
    options.add_argument(
        "--output", type=Path, required=True, help="checkpoints that are kept and removed, JSON"
    )
    args = options.parse_args()

    from ddpm_bench.training.thinning import thin_experiment  # imports torch and pandas

    thin_experiment(args.what, args.experiment, args.evaluation, args.best, args.output)


if __name__ == "__main__":
    run(main)
