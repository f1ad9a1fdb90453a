#!/usr/bin/env python
"""Compute the features of a dataset's images, which samples are scored against.

Reads prepared images and the weights of the feature space; writes features, their mean and
their covariance to one .npz file.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.scoring import FeatureStage, ScoreRun
from ddpm_bench.machine.gpu_leases import lease


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(FeatureStage), required=True, help="JSON: the stage's keys"
    )
    arguments.add_argument(
        "--how", type=keys(ScoreRun), default=ScoreRun(), help="JSON: the run keys"
    )
    arguments.add_argument(
        "--images", type=Path, nargs="+", required=True, help="train.npy, eval.npy or both"
    )
    arguments.add_argument(
        "--weights", type=Path, required=True, help="classifier.safetensors or the Inception file"
    )
    arguments.add_argument("--output", type=Path, required=True, help=".npz file to write")
    given = arguments.parse_args()

    with lease(1):
        from ddpm_bench.scoring.features.references import reference_features, write_reference

        reference = reference_features(given.what, given.images, given.weights, given.how)
    write_reference(given.output, reference)


if __name__ == "__main__":
    run(main)
