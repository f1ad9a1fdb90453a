#!/usr/bin/env python
"""Prepare a fetched dataset: decode, resize and split its images.

Writes into the output folder: train.npy and eval.npy (uint8 [N, H, W, C]), images.csv (a row for
every input file: its split and position, or the reason if it is left out), summary.json and
preview.png.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.dataset import PrepareRun, PrepareStage
from ddpm_bench.data.preparing import prepare


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(PrepareStage), required=True, help="the stage's keys"
    )
    arguments.add_argument(
        "--how", type=keys(PrepareRun), default="{}", help="the run block's keys"
    )
    arguments.add_argument("--fetched", type=Path, required=True, help="marker of the raw files")
    arguments.add_argument("--output", type=Path, required=True, help="folder to write into")
    options = arguments.parse_args()
    summary = prepare(options.what, options.how.cpus, options.fetched, options.output)
    print(
        f"{summary['files']} files: {summary['train']} to train on, {summary['eval']} held out, "
        f"{sum(summary['left_out'].values())} left out (reasons in images.csv)"
    )
    if "value_range" in summary:
        black, white = summary["value_range"]
        print(f"value_range: {black:g} is black, {white:g} white")


if __name__ == "__main__":
    run(main)
