#!/usr/bin/env python
"""Train the small classifier whose features and class probabilities score a dataset's samples.

Reads train.npy, eval.npy and images.csv of a prepared dataset; writes classifier.safetensors and
summary.json with its accuracy. Runs on one CPU core, so that the same keys give the same bytes.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.dataset import ClassifierStage


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(ClassifierStage), required=True, help="JSON: the stage's keys"
    )
    arguments.add_argument(
        "--dataset", type=Path, required=True, help="folder of the prepared dataset"
    )
    arguments.add_argument("--output", type=Path, required=True, help="folder to write")
    given = arguments.parse_args()

    from ddpm_bench.scoring.features.classifier import train_classifier, write_classifier

    network, summary = train_classifier(given.dataset, given.what.classifier)
    write_classifier(given.output, network, summary)


if __name__ == "__main__":
    run(main)
